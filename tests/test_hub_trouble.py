"""What goes wrong between here and the Hub: refusals, too many requests, cut connections, half a commit, no network."""

import shutil

import hub_double
import pytest
from hub_client import TOKEN, Client
from test_fused import make, parts  # noqa: F401  a fixture
from test_hub import bench, router, templates  # noqa: F401  fixtures

SMALL = "import fusion_hf.hub.upload as upload; upload.WAITS = (0.05, 0.05, 0.05)\n"
# huggingface_hub repeats some requests itself, five times, and waits half a minute for a lasting failure.
IMPATIENT = (
    SMALL + "import huggingface_hub.utils._http as http, time\ntime.sleep = lambda seconds: print('wait', seconds)\n"
)
STRANGER, READER = "hf_" + "o" * 20, "hf_" + "r" * 20


@pytest.fixture(autouse=True)
def peace():
    hub_double.TROUBLE.clear()
    yield
    hub_double.TROUBLE.clear()
    hub_double.MEANWHILE.clear()


@pytest.fixture
def push(writer, router):  # noqa: F811
    """(exit code, standard output, standard error) of pushing the router, with all waits cut short."""

    def run(repo_id, *argv, folder=router, token=TOKEN):
        argv = ["push", str(folder), repo_id, *argv]
        return writer.run(IMPATIENT + f"from fusion_hf.cli import main; raise SystemExit(main({argv!r}))", token)

    return run


def refused(result, *words):
    """The one line of a refusal."""
    status, out, err = result
    lines = [line for line in err.splitlines() if line.startswith("fusion-hf push")]
    assert status == 2 and len(lines) == 1 and "/commit/" not in out, err
    for word in words:
        assert word in lines[0], lines[0]
    assert TOKEN not in err + out
    return lines[0]


def files_in(repo_id, kind="models"):
    return set(hub_double.REPOS[kind, repo_id]["files"])


def test_without_or_with_a_wrong_token(push):
    for token in (None, "hf_" + "w" * 20):
        refused(push("user/t401", token=token), "nothing was pushed", "401", "set HF_TOKEN", "hf auth login")
    assert ("models", "user/t401") not in hub_double.REPOS


def test_a_login_does_what_the_variable_does(push, writer):
    (writer.home / "token").write_text(TOKEN)  # what  hf auth login  writes
    try:
        assert push("user/logged-in", token=None)[0] == 0 and "config.json" in files_in("user/logged-in")
        # The variable goes before the login.
        refused(push("user/logged-in", "--message", "x", token="hf_" + "w" * 20), "401", "HF_TOKEN")
    finally:
        (writer.home / "token").unlink()


def test_without_the_right_to_write(push, router, tmp_path):  # noqa: F811
    refused(push("user/t403", token=READER), "nothing was pushed", "403", "write access", "HF_TOKEN")
    refused(push("user/t403", token=STRANGER), "403")
    assert push("user/t403")[0] == 0
    before = hub_double.REPOS["models", "user/t403"]["commits"]
    refused(push("user/t403", "--message", "vandal", token=STRANGER), "403")
    assert hub_double.REPOS["models", "user/t403"]["commits"] == before
    # But a stranger may open a pull request.
    shutil.copytree(router, tmp_path / "router")
    (tmp_path / "router" / "note.txt").write_text("better")
    assert (
        push("user/t403", "--pull-request", folder=tmp_path / "router", token=STRANGER)[1]
        .strip()
        .endswith("/discussions/1")
    )


def test_too_many_requests_wait_as_long_as_the_hub_asks(push):
    hub_double.trouble("POST /api/repos/create", 429, Retry_After="7")
    hub_double.trouble("POST .*/commit/", 429, Retry_After="9")
    status, out, err = push("user/t429")
    assert status == 0, err
    waits = [float(line.split()[1]) for line in out.splitlines() if line.startswith("wait")]
    assert waits == [7.0, 9.0] and "config.json" in files_in("user/t429")
    hub_double.trouble("POST .*/commit/", 429, ratelimit='"api";r=0;t=11')
    out = push("user/t429a")[1]
    assert "wait 12.0" in out and "config.json" in files_in("user/t429a")
    hub_double.trouble("POST .*/commit/", 429, times=99, Retry_After="60")
    refused(push("user/t429b"), "429", "try again in 60 s", "the same command goes on")


@pytest.mark.parametrize("status", [500, 503])
def test_trouble_of_the_hub_is_waited_out(push, status):
    hub_double.trouble("POST /api/repos/create", status, times=2)
    hub_double.trouble("POST .*/preupload/", status, times=2)
    hub_double.trouble("POST .*/commit/", status, times=3)
    assert push(f"user/t{status}")[0] == 0 and "config.json" in files_in(f"user/t{status}")
    hub_double.trouble("POST .*/commit/", status, times=99)
    refused(push(f"user/t{status}b"), "not all of it was pushed", str(status), "try again later")
    hub_double.trouble("POST /api/repos/create", status, times=99)
    refused(push(f"user/t{status}c"), "nothing was pushed", str(status))


def test_a_conflict_is_tried_again_and_then_named(push):
    hub_double.trouble("POST .*/commit/", 409)
    assert push("user/t409")[0] == 0
    hub_double.trouble("POST .*/commit/", 409, times=99)
    refused(push("user/t409b"), "409", "somebody else changes the repository right now")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("POST /api/repos/create", "nothing was pushed: the Hub answered in another form than expected"),
        ("POST .*/preupload/", "preupload_info is improperly formatted"),
        ("POST .*/commit/", "nothing twice): the Hub answered in another form than expected"),
    ],
)
def test_an_answer_in_another_form_is_one_line(push, request_, words):
    hub_double.trouble(request_, 200, times=99)
    refused(push("user/odd"), words)


def test_a_commit_whose_answer_was_lost_is_not_made_twice(push):
    hub_double.trouble("POST .*/commit/", None)
    assert push("user/cut")[0] == 0 and hub_double.REPOS["models", "user/cut"]["commits"] == 1
    hub_double.trouble("POST .*/commit/", None, times=99)
    refused(push("user/cut2"), "not all of it was pushed", "the connection was cut")
    # A pull request could be opened twice: its commit is sent once.
    start = len(hub_double.REQUESTS)
    refused(push("user/cut2", "--pull-request"), "look at the repository's before you push again")
    assert sum("/commit/" in request for request in hub_double.REQUESTS[start:]) == 1


def test_after_a_cut_the_same_command_goes_on(push, router, tmp_path):  # noqa: F811
    import os

    folder = tmp_path / "large"
    shutil.copytree(router, folder)
    for i in range(3):  # large files, of their own content
        (folder / f"part-{i}.safetensors").write_bytes(os.urandom(50_000))
    hub_double.trouble("PUT /__blobs__/.*", None, times=1)
    assert push("user/once-cut", folder=folder)[0] == 0  # huggingface_hub sends it again by itself
    for i in range(3):
        (folder / f"part-{i}.safetensors").write_bytes(os.urandom(50_000))
    put = "PUT /__blobs__/"
    start = len(hub_double.REQUESTS)
    hub_double.trouble(put + "[0-7]", None, times=99)
    hub_double.trouble(put + "[89a-f].*", 403, times=0)
    (folder / "part-0.safetensors").write_bytes(_starting_with("89abcdef"))
    (folder / "part-1.safetensors").write_bytes(_starting_with("01234567"))
    refused(push("user/half", folder=folder), "not all of it was pushed", "Error while uploading")
    assert files_in("user/half") == {".gitattributes"}  # nothing half is to be seen
    hub_double.TROUBLE.clear()
    first = {request for request in hub_double.REQUESTS[start:] if request.startswith(put)}
    held = {request for request in first if request.removeprefix(put) in hub_double.BLOBS}
    start = len(hub_double.REQUESTS)
    assert push("user/half", folder=folder)[0] == 0
    sent = {request for request in hub_double.REQUESTS[start:] if request.startswith(put)}
    assert held and sent and not held & sent
    assert {f"part-{i}.safetensors" for i in range(3)} <= files_in("user/half")


def _starting_with(digits: str) -> bytes:
    """Bytes whose SHA-256 starts with one of these digits."""
    import hashlib
    import os

    while hashlib.sha256(data := os.urandom(40_000)).hexdigest()[0] not in digits:
        pass
    return data


def test_half_a_commit_is_not_called_done(push):
    hub_double.trouble("", drop="base.py")
    line = refused(push("user/lossy"), "1 files are not on the Hub as they are here (base.py)", "the same command")
    assert "base.py" not in files_in("user/lossy") and "config.json" in files_in("user/lossy")
    hub_double.TROUBLE.clear()
    assert push("user/lossy")[0] == 0 and "base.py" in files_in("user/lossy"), line


def test_private_means_private(push):
    assert push("user/private", "--private")[0] == 0
    assert hub_double.REPOS["models", "user/private"]["private"]
    assert push("user/private", "--private")[0] == 0  # again
    assert push("user/public", "--no-private")[0] == 0
    refused(push("user/public", "--private"), "it exists and is public")


def test_what_was_made_public_while_it_was_pushed_is_told(push):
    def opened():
        hub_double.REPOS["models", "user/opened"]["private"] = False

    hub_double.MEANWHILE.append(("POST .*/commit/", opened))
    refused(push("user/opened", "--private"), "made the repository public meanwhile", "make it private on the Hub")


def test_reading_what_is_private_needs_the_token(writer, bench, templates):  # noqa: F811
    assert writer.cli("push", bench, "user/private-bench", "--private")[0] == 0
    assert writer.cli("push", templates, "user/private-templates", "--private")[0] == 0
    for code in (
        "import fusion_hf; fusion_hf.read_log('user/private-bench', 'train')",
        "from fusion_hf import TemplateIndex; TemplateIndex.from_pretrained('user/private-templates')",
        "from fusion_hf.routers import load_router; load_router('user/private')",  # of the test before
    ):
        for token in (None, STRANGER):
            status, _, err = writer.run(code, token)
            assert status == 1 and "HF_TOKEN" in err.splitlines()[-1] and "hf auth login" in err, err[-500:]
    for code in (
        "import fusion_hf; fusion_hf.read_log('user/private-bench', 'train')",
        "from fusion_hf import TemplateIndex; TemplateIndex.from_pretrained('user/private-templates')",
    ):
        assert writer.run(code)[0] == 0


def test_offline_with_a_warm_cache(writer, router, bench, templates, parts, tmp_path):  # noqa: F811
    folders = {"router": router, "bench": bench, "templates": templates, "fused": make(tmp_path / "fused", parts)}
    for name, folder in folders.items():
        assert writer.cli("push", folder, f"user/warm-{name}")[0] == 0
    load = """
import fusion_hf
from transformers import AutoModel
from datasets import load_dataset
print(AutoModel.from_pretrained("user/warm-router").route(["how many apples are 3 and 4?"])[0].candidate)
print(len(load_dataset("user/warm-bench", "gsm8k", split="train")))
print(fusion_hf.read_log("user/warm-bench", "test").num_rows)
print(len(fusion_hf.TemplateIndex.from_pretrained("user/warm-templates")))
from fusion_hf.fused import FusedSystem
print([d.to_dict() for d in FusedSystem.from_pretrained("user/warm-fused").plan(["What is 7 + 8?", "def f():"])])
"""
    expected = writer.out(load)
    offline = Client(writer.endpoint, writer.home, offline=True)
    try:
        start = len(hub_double.REQUESTS)
        assert offline.out(load) == expected
        status, _, err = offline.cli("push", router, "user/warm-router")
        assert status == 2 and "HF_HUB_OFFLINE" in err and "nothing was pushed" in err
        status, _, err = offline.run("import fusion_hf; fusion_hf.read_log('user/never-seen')")
        assert status == 1 and "user/never-seen" in err.splitlines()[-1]
        assert hub_double.REQUESTS[start:] == []
    finally:
        offline.close()


def test_a_hub_without_xet_is_named_as_such(writer, bench):  # noqa: F811
    pytest.importorskip("hf_xet")
    xet = "import huggingface_hub.constants as c; c.HF_HUB_DISABLE_XET = False\n"
    status, _, err = writer.run(xet + f"from fusion_hf.hub import push\npush({str(bench)!r}, 'user/no-xet')")
    assert status == 1 and "not all of it was pushed" in err and "needs HF_HUB_DISABLE_XET=1" in err.splitlines()[-1]


def test_no_hub_there(writer, router):  # noqa: F811
    nobody = "import huggingface_hub.constants as c; c.ENDPOINT = 'http://127.0.0.1:9'\n"  # the port of `discard`
    status, _, err = writer.run(nobody + IMPATIENT + f"from fusion_hf.hub import push\npush({str(router)!r}, 'user/x')")
    assert status == 1 and "nothing was pushed" in err.splitlines()[-1] and "there is none" in err, err
