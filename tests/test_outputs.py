"""What may be written where, and that a crash leaves the old state whole."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fusion_hf.errors import UserError
from fusion_hf.outputs import (
    MARKER,
    atomic_file,
    atomic_folder,
    check_file,
    check_folder,
    clear_folder,
    mark_folder,
    write_text,
)


def write(out, kind="router", overwrite=False, keep=None, **files):
    with atomic_folder(out, kind, overwrite, keep) as new:
        for name, text in files.items():
            path = new / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def content(folder):
    folder = Path(folder)
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != MARKER)
    return {p.relative_to(folder).as_posix(): p.read_text() for p in files}


def test_a_new_or_empty_folder_and_one_of_the_same_kind(tmp_path):
    write(tmp_path / "a" / "b", x="1", d__y="2")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", x="1")
    assert content(tmp_path / "a" / "b") == {"x": "1", "d/y": "2"} and content(tmp_path / "empty") == {"x": "1"}
    write(tmp_path / "a" / "b", x="3")
    assert content(tmp_path / "a" / "b") == {"x": "3"}, "what we wrote before goes"
    assert json.loads((tmp_path / "a" / "b" / MARKER).read_text()) == {"kind": "router", "files": ["x"]}
    assert [p.name for p in tmp_path.iterdir()] in (["a", "empty"], ["empty", "a"]), "nothing is left beside"
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_others_put_there_stays(tmp_path):
    out = tmp_path / "router"
    write(out, config="1", weights="1")
    (out / "notes.md").write_text("mine")
    (out / "deep").mkdir()
    (out / "deep" / "er.txt").write_text("mine too")
    (out / "link").symlink_to(tmp_path)
    write(out, config="2", tokenizer="2")
    assert content(out) == {"config": "2", "tokenizer": "2", "notes.md": "mine", "deep/er.txt": "mine too"}
    assert (out / "link").readlink() == tmp_path
    (out / "weights").write_text("mine now")
    write(out, config="3", weights="3")
    assert content(out)["weights"] == "3" and content(out)["weights.old"] == "mine now"
    (out / "other").write_text("mine again")
    write(out, overwrite=True, config="4", other="4")
    assert content(out)["other"] == "4" and "other.old" not in content(out), "overwriting was asked for"


def test_keep_says_which_of_ours_stay(tmp_path):
    out = tmp_path / "bench"
    write(out, data__train="1", data__test="1", README="1")
    write(out, keep=lambda name: name.startswith("data/"), data__test="2")
    assert content(out) == {"data/train": "1", "data/test": "2"}
    write(out, data__new="3")
    assert content(out) == {"data/new": "3"}, "what was kept is still ours"


@pytest.mark.parametrize("make, message", [
    (lambda d: (d / "thesis.md").write_text("x"), "is not empty, and fusion_hf did not make it"),
    (lambda d: mark_folder(d, "templates"),  "holds 'templates', not 'router'"),
    (lambda d: (d / MARKER).write_text("{oops"), "did not make it"),
    (lambda d: (d / MARKER).write_text('{"kind": ["router"], "files": []}'), "did not make it"),
])  # fmt: skip
def test_a_folder_that_is_not_ours_is_refused_and_untouched(tmp_path, make, message):
    out = tmp_path / "out"
    out.mkdir()
    make(out)
    before = {p.name: p.read_text() for p in out.iterdir()}
    with pytest.raises(UserError, match=message) as error:
        write(out, x="1")
    assert "overwrite" in str(error.value) and "\n" not in str(error.value)
    assert {p.name: p.read_text() for p in out.iterdir()} == before
    write(out, overwrite=True, x="1")
    assert content(out)["x"] == "1" and (before.get("thesis.md") is None or content(out)["thesis.md"] == "x")


@pytest.mark.parametrize("out, message", [
    ("", "found empty text"), ("  ", "found empty text"), ("{}/a\0b", "cannot be written"),
    ("{}/" + "n" * 300, "cannot be"),
    ("{}/file", "expected a folder, found a file"), ("{}/file/x", "is a file"),
])  # fmt: skip
def test_what_is_no_place_is_one_line(tmp_path, out, message):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=message) as error:
        check_folder(out.format(tmp_path), "router")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path):
    (tmp_path / "d").mkdir(mode=0o500)
    with pytest.raises(UserError, match="no permission in"):
        check_folder(tmp_path / "d" / "x", "router")


def test_an_error_leaves_the_old_folder(tmp_path):
    out = tmp_path / "router"
    write(out, config="1")
    with pytest.raises(ZeroDivisionError), atomic_folder(out, "router") as new:
        (new / "config").write_text(f"half {1 / 0}")
    assert content(out) == {"config": "1"} and os.listdir(tmp_path) == ["router"]


KILLED = """
import sys, time
from fusion_hf.outputs import atomic_folder
with atomic_folder(sys.argv[1], "router") as new:
    (new / "config").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_kill_leaves_the_old_folder_and_the_next_writing_cleans_up(tmp_path):
    out = tmp_path / "router"
    write(out, config="1", weights="1")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(out)], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.kill()
    process.wait()
    assert content(out) == {"config": "1", "weights": "1"} and len(os.listdir(tmp_path)) == 2
    write(out, config="2")
    assert content(out) == {"config": "2"} and os.listdir(tmp_path) == ["router"]


def test_readers_never_see_a_mixture(tmp_path):
    """Kills at random moments, with a reader: config and weights are always of the same writing."""
    code = """
import sys
from fusion_hf.outputs import atomic_folder
for i in range(10**6):
    with atomic_folder(sys.argv[1], "router") as new:
        (new / "config").write_text(str(i))
        (new / "weights").write_text(str(i))
"""
    out = tmp_path / "router"
    for pause in (0.05, 0.11, 0.02):
        process = subprocess.Popen([sys.executable, "-c", code, str(out)])
        while not out.exists():
            time.sleep(0.01)
        time.sleep(pause)
        process.kill()
        process.wait()
        found = content(out)
        assert set(found) == {"config", "weights"} and found["config"] == found["weights"]


def test_the_folder_that_one_stands_in_stays_the_same(tmp_path, monkeypatch):
    out = tmp_path / "router"
    write(out, config="1", old="1")
    (out / "mine").write_text("x")
    monkeypatch.chdir(out)
    inode = out.stat().st_ino
    write(".", config="2")
    assert out.stat().st_ino == inode and content(out) == {"config": "2", "mine": "x"}


def test_a_link_stays_a_link(tmp_path):
    write(tmp_path / "real", config="1")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", config="2")
    assert (tmp_path / "link").is_symlink() and content(tmp_path / "real") == {"config": "2"}


def test_a_marker_that_lies_deletes_nothing_outside(tmp_path, monkeypatch):
    out = tmp_path / "router"
    out.mkdir()
    (tmp_path / "thesis").write_text("x")
    (out / MARKER).write_text(json.dumps({"kind": "router", "files": ["../thesis", str(tmp_path / "thesis")]}))
    write(out, config="1")
    (out / MARKER).write_text(json.dumps({"kind": "router", "files": ["../thesis", str(tmp_path / "thesis")]}))
    monkeypatch.chdir(out)
    write(out, config="2")
    assert (tmp_path / "thesis").read_text() == "x"


def test_files(tmp_path):
    file = tmp_path / "x.csv"
    assert check_file(file) == file
    write_text(file, "1")
    with pytest.raises(UserError, match="exists: give a new file"):
        check_file(file)
    assert check_file(file, overwrite=True) and check_file(file, ours=lambda path: path.read_text() == "1")
    with pytest.raises(UserError, match="there is no folder"):
        check_file(tmp_path / "none" / "x.csv")
    with pytest.raises(UserError, match="found a folder"):
        check_file(tmp_path)
    with pytest.raises(ZeroDivisionError), atomic_file(file) as new:
        new.write_text(f"half {1 / 0}")
    assert file.read_text() == "1" and os.listdir(tmp_path) == ["x.csv"]
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_clearing_removes_what_we_wrote_and_nothing_else(tmp_path):
    out = tmp_path / "demo"
    mark_folder(
        out,
        "demo",
        ["made", "file", "../thesis", "made/../../thesis", "link", "none", "..", ".", "", "made/..", str(tmp_path)],
    )
    for place in (out / "made" / "x", out / "file", out / "mine", tmp_path / "thesis", tmp_path / "other" / "y"):
        place.parent.mkdir(exist_ok=True)
        place.write_text("x")
    (out / "link").symlink_to(tmp_path / "other")
    clear_folder(out)
    assert sorted(p.name for p in out.iterdir()) == [MARKER, "mine"]
    assert (tmp_path / "thesis").exists() and (tmp_path / "other" / "y").exists()
