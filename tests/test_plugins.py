"""Plug-ins of other packages that are not what they should be: told, and passed over. Good ones: `test_docs_extend`."""

import warnings

import pytest

from fusion_hf import UserError, plugins

MODULES = {
    "leaves": "raise SystemExit(3)",
    "broken": "def (",
    "empty": "",
    "good": "def read(path, task=None):\n    pass\n",
}


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """A function that installs entry points ``group:name = module``; they are gone after the test."""
    for name, code in MODULES.items():
        (tmp_path / f"offered_{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)

    def install(*points):
        info = tmp_path / "others-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
        (info / "entry_points.txt").write_text("\n".join(["[fusion_hf]", *points]))
        plugins.modules.cache_clear()

    yield install
    monkeypatch.undo()
    plugins.modules.cache_clear()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("offered_leaves", "fails: SystemExit: 3"),
        ("offered_broken", "fails: SyntaxError"),
        ("offered_none", "fails: ModuleNotFoundError"),
        ("offered_none.inside", "fails: ModuleNotFoundError"),
        ("offered_empty", "expected a module that defines read, found none"),
    ],
)
def test_a_plug_in_that_fails_is_one_line_and_stops_no_other(module, message, offer):
    offer(f"importers:theirs = {module}", "importers:good = offered_good")
    with pytest.raises(UserError, match=message):
        plugins.load("importers", "theirs")
    with pytest.warns(UserWarning, match="it is left out"):
        found = plugins.load_all("importers")
    assert "theirs" not in found and "good" in found and "csv" in found
    assert not plugins.has_line("importers", "theirs", "LOCAL = True")


def test_an_entry_point_may_name_an_object_of_the_module(offer):
    offer("importers:good = offered_good:read")
    assert plugins.load("importers", "good").__name__ == "offered_good"


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            "importers:csv = offered_good",
            r"importers:csv of offered_good is passed over: fusion_hf\.\S+csv has",
        ),
        ("importer:good = offered_good", "importer:good is passed over: expected one of tasks:NAME"),
        ("good = offered_good", "good is passed over: expected one of tasks:NAME"),
    ],
)
def test_what_is_passed_over_is_told(point, message, offer):
    offer(point)
    with pytest.warns(UserWarning, match=message):
        assert plugins.modules("importers")["csv"].startswith("fusion_hf.")


def test_of_two_packages_with_one_name_the_same_one_counts_always(offer):
    offer("importers:two-words = offered_good", "importers:two_words = offered_empty")
    with pytest.warns(UserWarning, match="two-words of offered_good is passed over: offered_empty has"):
        assert plugins.modules("importers")["two-words"] == "offered_empty"


def test_nothing_is_told_where_all_is_well(offer):
    offer("importers:good = offered_good")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "good" in plugins.names("importers")


def test_a_file_that_ends_the_program_is_one_line(tmp_path):
    file = tmp_path / "leaving_early.py"
    file.write_text("import sys\nsys.exit(2)\n")
    with pytest.raises(UserError, match=r"leaving_early.py fails: SystemExit: 2"):
        plugins.add(file)
