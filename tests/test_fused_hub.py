"""A fused system on a loopback Hub: pushed, loaded in another process, planning the same; keys stay at home."""

import json

import hub_double
from test_fused import PLAN, QUERIES, make, parts  # noqa: F401  a fixture

from fusion_hf.fused import FusedSystem
from fusion_hf.outputs import MARKER


def test_a_fused_system_round_trips(writer, parts, tmp_path):  # noqa: F811
    folder = make(tmp_path / "fused", parts)
    pool = folder / "pool.yaml"
    pool.write_text(pool.read_text().replace("name: bee\n", "name: bee\n  api_key_env: A_KEY_OF_MINE\n"))
    code = f"from fusion_hf.fused import FusedSystem\nfused = FusedSystem.from_pretrained({str(folder)!r})\n"
    assert "/commit/" in writer.out(code + "print(fused.push_to_hub('user/fused', private=True))")
    local = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != MARKER}
    held = set(hub_double.REPOS["models", "user/fused"]["files"])
    assert held - local == {".gitattributes"} and "README.md" in local and local <= held

    there = writer.out(f"import sys; sys.argv = ['', 'user/fused', {json.dumps(QUERIES)!r}]\n{PLAN}")
    assert json.loads(there) == [d.to_dict() for d in FusedSystem.from_pretrained(folder).plan(QUERIES)]
    card = hub_double.REPOS["models", "user/fused"]["files"]["README.md"][0].decode()
    assert writer.out(card.split("```python\n")[1].split("```")[0]).split() == ["sums", "cat", "0.5"]

    ask = "import os; os.environ['A_KEY_OF_MINE'] = 'abc'\nfrom fusion_hf.fused import FusedSystem\n"
    status, _, err = writer.run(f"{ask}FusedSystem.from_pretrained('user/fused')({QUERIES!r}, candidates=['bee'])")
    assert status == 1 and "keys=['A_KEY_OF_MINE=http://127.0.0.1:9']" in err
    status, _, err = writer.run("from fusion_hf.fused import FusedSystem; FusedSystem.from_pretrained('user/none')")
    assert status == 1 and "user/none: no such folder, and no fused system on the Hub: 404" in err
