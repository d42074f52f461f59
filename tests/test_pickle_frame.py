"""RouterBench's pickles: read as data whatever wrote them, and nothing in them ever runs."""

import base64
import pickle
import random
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
from test_importers import law, needs

from fusion_hf.errors import UserError
from fusion_hf.logs.importers import read
from fusion_hf.logs.importers._pickle_frame import read_pickled_frame

# Written by pandas 2.2.2 with NumPy 1.26 (and, to the byte, by pandas 1.5.3): two rows of the authors' wide format.
OLD = zlib.decompress(base64.b85decode(
    'c-n1K&2G~`5RMb4p|mQYf<g~eIgxNNDhLS)q(~GYfki5M;ZRkpwY`b0+G}ffO&h5daOj`3H-^3g&%q1u2s{EuZZNw}Acd~vo!Rxy&-cyDhvw%y'
    'Zp|)zy`Vgz(hGCJyrG~O13mwoD*D3epWxm{IE0>dNj4Io*Jht5Trt6ED!q(yI$}bCUVN73;qL3|jOKb}VnNa*kbg};Un3<il5jU=BrrDS@iH&7'
    'VqAGgm5C$-y+DQ{&w_F|v>toso!adB(XZss_m%uUIe+VeZd!jRBQ-7z8eJbghO^TX*n*zl(9TmB3<j@$;j)`wQxN!dzkUqb*#L#l^p&7YQk8H_'
    'xhc~mG;aKc-}39mOSQ)f@lx-+J;}(K$ofP=ysYcVOx$?olBkY}8n2p|@tQw}0i4+Y`sNHbS&11@At+*7B!Y!Gmr9hO!rbDvZXx6LCuUkZf(<8t'
    'Dzf9dHVWpmd4Y$6e|YF)MrS)%_XhRWK{o>L0qCXe?%SBEP9i(&{q7Ei-tH#$`1Ol9IuySEbZfgiW)g1(4BZ%JE>`S+hTK0)-Syq02@4hS6EJDq'
    'zSwsW+h@`XsKjo)N;umiFU_4nzp0y3-S%ySy$tbs{LnBFKbrE;!ow4ba9+}^z$Q#0&~pWLTA^?R*gKjMZpWdyf1h%^yJ6))mPaf_&Sin5<L`EL'
    't#XAHVJ`8d!@(feu5~adk4**N=+(<W2+BtW#g>sXna81SB+<TUIz@%TLTXp4yg*uv!ccLnV`es-Pwa5a+rXWUG0B*s7C#oJNtMC@Jw%XXn9`9|'
    'Z_zZ(_auqR0y~>3Mp7CuoX%5O2HtO_hlJb'
))  # fmt: skip


def wide(rows=5):
    """The authors' wide format in columns of objects, as pandas before 3 held text."""
    texts = {"sample_id": [f"s.{i}" for i in range(rows)], "prompt": [f"['What is {i}?']" for i in range(rows)]}
    texts["eval_name"] = ["mmlu-law" if i % 2 else "hellaswag" for i in range(rows)]
    texts["ant|model_response"] = ["['yes']", None, '["it\'s é"]', *["plain"] * (rows - 3)]
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in texts.items()})
    frame["ant"] = [1.0, np.nan, *[0.5] * (rows - 2)]
    frame["ant|total_cost"] = 0.25
    frame["count"], frame["flag"] = np.arange(rows), np.arange(rows) > 1
    frame.columns = pd.Index(list(frame.columns), dtype=object)
    return frame


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_column_as_pandas_reads_it(tmp_path, protocol):
    frame = wide()
    for part in (frame, frame.iloc[[0, 2, 3]], frame[["prompt", "ant"]].rename_axis("idx"), frame.iloc[:0]):
        part.to_pickle(tmp_path / "a.pkl", protocol=protocol)
        columns = read_pickled_frame(tmp_path / "a.pkl")
        assert list(columns) == list(part.columns)
        for name, values in columns.items():
            assert [v if v == v else None for v in values.tolist()] == [
                v if v == v else None for v in part[name].tolist()
            ]


def test_what_older_versions_wrote(tmp_path):
    (tmp_path / "routerbench_0shot.pkl").write_bytes(OLD)
    result = read("routerbench", tmp_path)
    law(result)
    rows = result.tables["train"].to_pylist()
    found = [(r["task"], r["query"], r["llm"], r["performance"], r["response"], r["cost"]) for r in rows]
    assert found == [
        ("a", "What is 1?", "x/ant", 1.0, "yes", 0.5), ("b", "it is é", "x/ant", None, None, 0.25),
    ]  # fmt: skip


def test_the_published_csv_through_a_pickle_gives_the_same_log(tmp_path):
    file = needs("routerbench") / "mbpp_test.csv.gz"
    frame = pd.read_csv(file)
    texts = {name: frame[name].astype(object).where(frame[name].notna(), None) for name in frame.select_dtypes("str")}
    frame = frame.assign(**texts)
    frame.columns = pd.Index(list(frame.columns), dtype=object)
    frame.to_pickle(tmp_path / "mbpp_test.pkl")
    before, after = read("routerbench", file), read("routerbench", tmp_path / "mbpp_test.pkl")
    assert after.table.equals(before.table) and after.notes == before.notes and after.kept == before.kept


class Trap:
    """What pickle would call on loading."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def programs(path):
    """Pickles that do something when they are loaded, one for each way that the format knows."""
    target = repr(str(path)).encode()
    yield from (pickle.dumps(Trap(path), protocol) for protocol in (0, 1, 2, 4))
    yield pickle.dumps({"_mgr": Trap(path)}, 4)
    yield b"cbuiltins\nexec\n(Vopen(" + target + b", 'w')\ntR."
    yield b"(Vopen(" + target + b", 'w')\nibuiltins\nexec\n."
    yield b"(cbuiltins\nexec\nVopen(" + target + b", 'w')\no."
    yield b"cthis\nd\n."
    yield b"Pa persistent name\n."
    yield b"\x82\x01."
    frame = wide()
    frame["prompt"] = pd.Series([Trap(path)] * len(frame), dtype=object)
    yield pickle.dumps(frame)


def test_nothing_is_imported_or_called(tmp_path):
    for i, program in enumerate(programs(tmp_path / "trap")):
        (tmp_path / "x.pkl").write_bytes(program)
        with pytest.raises(UserError, match=r"nothing in it was run.*read_pickle") as error:
            read("routerbench", tmp_path / "x.pkl")
        assert not (tmp_path / "trap").exists(), i
        assert "\n" not in str(error.value)
    assert "this" not in sys.modules  # which prints a poem when it is imported


def test_text_that_arrow_holds_is_refused_with_the_line_that_converts_it(tmp_path):
    wide().convert_dtypes().to_pickle(tmp_path / "new.pkl")
    with pytest.raises(UserError, match=r"expected a pickled DataFrame.*read_pickle\('new.pkl'\)"):
        read("routerbench", tmp_path / "new.pkl")


def test_a_damaged_file_is_an_error_and_nothing_worse(tmp_path):
    rng = random.Random(0)
    whole = pickle.dumps(wide())
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole[: rng.randrange(1, len(whole))] if rng.random() < 0.2 else whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (tmp_path / "x.pkl").write_bytes(damaged)
        try:
            read_pickled_frame(tmp_path / "x.pkl")
        except UserError:
            refused += 1
    assert refused > 100
