"""The contract of every importer, on a small log of its format (`contract_inputs.LOGS`)."""

import gzip

import contract_inputs
import pytest

from fusion_hf import Log, import_log
from fusion_hf.errors import UserError
from fusion_hf.logs.importers import FORMATS, read
from fusion_hf.logs.schema import validate

every_format = pytest.mark.parametrize("format", FORMATS)


def law(result):
    """What holds for every import: nothing is lost without a word, and every row is a log row."""
    assert result.read == result.kept + sum(result.dropped.values())
    assert result.kept == result.table.num_rows == sum(t.num_rows for t in result.tables.values())
    for split, table in result.tables.items():
        validate(table, where=split)


@pytest.fixture
def source(format, tmp_path):
    """A folder with a small log of the format."""
    assert format in contract_inputs.LOGS, f"no log to test the format {format!r} with"
    folder = tmp_path / "source"
    folder.mkdir()
    contract_inputs.LOGS[format](folder)
    return folder


@every_format
def test_a_format_says_what_it_is(format):
    module = FORMATS[format]
    assert isinstance(module.DESCRIPTION, str) and module.DESCRIPTION
    assert module.SOURCE is None or len(module.SOURCE) == 2


@every_format
def test_every_cell_is_kept_or_dropped_with_a_reason(format, source):
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    result = read(format, source)
    law(result)
    assert result.kept > 0 and result.table.equals(read(format, source).table)
    assert {path: path.read_bytes() for path in before} == before
    (file,) = before
    assert read(format, file).table.equals(result.table)  # the file, or its folder
    law(named := read(format, source, task="other"))
    assert set(named.table["task"].to_pylist()) == {"other"}


@every_format
def test_gzip_reads_as_the_file_does(format, source):
    plain = read(format, source)
    for path in [path for path in source.rglob("*") if path.is_file()]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = read(format, source)
    assert packed.table.equals(plain.table) and packed.dropped == plain.dropped


@every_format
def test_importing_again_changes_nothing(format, source, tmp_path):
    first = import_log(format, source, tmp_path / "bench")
    rows = Log(tmp_path / "bench").table()
    again = import_log(format, source, tmp_path / "bench")
    assert first.kept == again.kept == rows.num_rows
    assert Log(tmp_path / "bench").table().equals(rows)


@every_format
def test_wrong_input_gives_one_line(format, source, tmp_path):
    (path,) = (path for path in source.rglob("*") if path.is_file())
    (tmp_path / "empty").mkdir()
    wrong = [(tmp_path / "none", "found nothing there"), (tmp_path / "empty", "expected files that end in")]
    for where, says in wrong:
        with pytest.raises(UserError, match=says):
            read(format, where)
    for content in (b"", b"\xff\xfe\x00\x01", b"{", b"[5]"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"expected|cannot be read|empty") as error:
            read(format, source)
        assert "\n" not in str(error.value).strip(), content
