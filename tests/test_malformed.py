"""Folders that somebody else broke, or made to break us: one clear line, in little time and memory."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from conftest import make_rows
from thought_toys import template_table
from tiny_bert import tiny_bert
from toy_fused import toy_bench, toy_pool

from fusion_hf.errors import UserError
from fusion_hf.fused import FusedSystem
from fusion_hf.llms.pool import load_pool, save_pool
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers import load_router
from fusion_hf.routers.train import fit_router
from fusion_hf.thoughts import TemplateIndex


def clear(error):
    """One line that says what was expected or what is wrong."""
    text = str(error)
    assert "\n" not in text.strip() and "Traceback" not in text and len(text) < 2000, text
    return text


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    folder = tmp_path_factory.mktemp("malformed")
    data = RoutingData.from_table(validate(rows_to_table(make_rows(40))))
    fit_router("linear", data, encoder=tiny_bert(folder / "bert")).save_pretrained(folder / "router")
    return folder / "router"


def up(**new):
    return lambda config: config | new


def buffers(**new):
    return lambda config: config | {"buffers": config["buffers"] | new}


def encoder(**new):
    return lambda config: config | {"encoder_config": config["encoder_config"] | new}


CONFIGS = {
    "buffers of 4 TB": buffers(weight=["float32", [10**12, 1]]),
    "buffers of 40 GB": buffers(svd=["float16", [20_000_000_000]]),
    "negative buffers": buffers(weight=["float32", [-1, 2]]),
    "a dtype that is no dtype": buffers(weight=["load", [2]]),
    "a buffer with dots": buffers(**{"a.b": ["float32", [2]]}),
    "a buffer __class__": buffers(__class__=["float32", [2]]),
    "a buffer forward": buffers(forward=["float32", [2]]),
    "buffers a list": up(buffers=[1, 2]),
    "encoder 1e9 wide": encoder(hidden_size=10**9, intermediate_size=10**9, num_attention_heads=1),
    "encoder of 1e7 layers": encoder(num_hidden_layers=10**7),
    "encoder of no heads": encoder(num_attention_heads=0),
    "encoder of an unknown type": encoder(model_type="evil"),
    "negative length": up(max_length=-5),
    "length as text": up(max_length="256"),
    "no candidates": up(candidates=None),
    "too many candidates": up(candidates=[f"c{i}" for i in range(1000)]),
    "candidates are numbers": up(candidates=[1, 2, 3]),
    "no scenarios": up(scenarios={}),
    "a scenario without fields": up(scenarios={"performance": {}}),
    "columns out of range": up(columns=[7, 8, 9]),
    "unknown added": up(added=["x"], candidates=["ant", "bee", "cow", "x"]),
    "model_type is a path": up(model_type="../../evil"),
    "unknown model_type with code": up(model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"}),
}
TENSORS = {
    "wrong shapes": lambda t: t | {"weight": torch.zeros(3, 3)},
    "NaN": lambda t: t | {"weight": t["weight"] * float("nan")},
    "a missing tensor": lambda t: {k: v for k, v in t.items() if k != "weight"},
}
FILES = {
    "weights cut": ("model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"),
    "a header of 2^62 bytes": ("model.safetensors", (1 << 62).to_bytes(8, "little") + b"{}"),
    "configuration is no JSON": ("config.json", b"{not json"),
    "configuration is a list": ("config.json", b"[]"),
    "configuration is nested deeply": ("config.json", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


def check_router(folder):
    with pytest.raises(UserError) as error:
        load_router(folder).route(["how many apples are 3 and 4?"], explain=True)
    clear(error.value)


@pytest.mark.parametrize("case", CONFIGS)
def test_a_router_with_a_broken_configuration(case, router, tmp_path):
    folder = shutil.copytree(router, tmp_path / "r")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(CONFIGS[case](config)))
    check_router(folder)


@pytest.mark.parametrize("case", TENSORS)
def test_a_router_with_broken_tensors(case, router, tmp_path):
    folder = shutil.copytree(router, tmp_path / "r")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    safetensors.torch.save_file(TENSORS[case](tensors), folder / "model.safetensors", metadata={"format": "pt"})
    check_router(folder)


@pytest.mark.parametrize("case", FILES)
def test_a_router_with_broken_files(case, router, tmp_path):
    folder = shutil.copytree(router, tmp_path / "r")
    (folder / FILES[case][0]).write_bytes(FILES[case][1])
    check_router(folder)


@pytest.mark.parametrize("place", ["", "/etc/passwd", "none/at/all", "a\0b", "n" * 5000])
def test_a_place_that_holds_no_router(place):
    check_router(place)


# -- thought templates: 9 vectors of 16


def vectors(shape, offsets=None, dtype="F32", data=b"\0" * 4 * 16 * 9, header=None, size=None):
    entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets or [0, len(data)]}
    header = header or json.dumps({"embeddings": entry})
    return (len(header) if size is None else size).to_bytes(8, "little") + header.encode() + data


def column(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


VECTORS = {
    "more than the file holds": vectors([10**9, 16]),
    "a negative shape": vectors([-9, -16]),
    "a shape that overflows": vectors([2**62, 16]),
    "a shape of text": vectors(["9", "16"]),
    "a negative offset": vectors([9, 16], [-100, 476]),
    "an offset into the header": vectors([9, 16], [-8, 568]),
    "a huge offset": vectors([9, 16], [2**60, 2**60 + 576]),
    "another dtype": vectors([9, 16], dtype="F64"),
    "a header of 2^63 bytes": vectors([9, 16], size=2**63 + 5),
    "a header of 30 GB": vectors([9, 16], size=30 << 30),
    "a header that is no JSON": vectors([9, 16], header="{no"),
    "a header that is a list": vectors([9, 16], header="[]"),
    "another dimension": vectors([9, 8], data=b"\0" * 288),
    "fewer rows": vectors([3, 16], data=b"\0" * 192),
    "nothing": b"",
    "NaN": vectors([9, 16], data=np.full(144, np.nan, np.float32).tobytes()),
}
TABLES = {
    "no column template": lambda t: t.drop_columns(["template"]),
    "queries are numbers": lambda t: column(t, "query", pa.array(range(t.num_rows))),
    "templates are null": lambda t: column(t, "template", pa.nulls(t.num_rows, pa.string())),
    "tasks are structs": lambda t: column(t, "task", pa.array([{"a": 1}] * t.num_rows)),
    "no rows": lambda t: t.slice(0, 0),
}
SETTINGS = {
    "encoder is a number": {"encoder": 5}, "encoder is elsewhere": {"encoder": "/etc", "has_encoder": False},
    "format 99": {"format": 99}, "encoder is none": {"encoder": None},
}  # fmt: skip


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("malformed")
    return TemplateIndex.build(template_table(9), tiny_bert(folder / "bert")).save_pretrained(folder / "t")


def check_index(folder):
    with pytest.raises(UserError) as error:
        TemplateIndex.from_pretrained(folder).search(["how many are 3?"], k=2)
    clear(error.value)


@pytest.mark.parametrize("case", VECTORS)
def test_templates_with_broken_vectors(case, index, tmp_path):
    folder = shutil.copytree(index, tmp_path / "t")
    (folder / "thought_templates" / "embeddings.safetensors").write_bytes(VECTORS[case])
    check_index(folder)


@pytest.mark.parametrize("case", TABLES)
def test_templates_with_a_broken_table(case, index, tmp_path):
    folder = shutil.copytree(index, tmp_path / "t")
    (file,) = (folder / "thought_templates").glob("train-*.parquet")
    pq.write_table(TABLES[case](pq.read_table(file)), file)
    check_index(folder)


@pytest.mark.parametrize("case", SETTINGS)
def test_templates_with_a_broken_configuration(case, index, tmp_path):
    folder = shutil.copytree(index, tmp_path / "t")
    file = folder / "thought_templates" / "index_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | SETTINGS[case]))
    check_index(folder)


@pytest.mark.parametrize("text", ["{no", "[]", "null", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_templates_whose_configuration_is_no_mapping(text, index, tmp_path):
    folder = shutil.copytree(index, tmp_path / "t")
    (folder / "thought_templates" / "index_config.json").write_text(text)
    check_index(folder)


# -- pools

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
POOLS = {
    "a bomb": BOMB + "llms: *i\n", "itself": "llms: &a [*a]", "a list": "- a", "nothing": "", "text": "llms: hello",
    "python": "!!python/object/apply:os.system [id]", "no YAML": "llms: [", "bytes": "\x00\x01", "a number": "llms: 5",
    "numbers": "llms: [1, 2]", "nested": "llms: " + "[" * 20_000, "a name with NUL": 'llms: [{name: "a\\0b"}]',
    "dates": "llms: [{name: 2026-01-01, size: small, input_price: 1, output_price: 1}]",
    "a name of 1 MB": f"llms: [{{name: {'n' * 1_000_000}, size: small, input_price: 1, output_price: 1}}]",
}  # fmt: skip


@pytest.mark.parametrize("case", POOLS)
def test_a_broken_pool(case, tmp_path):
    (tmp_path / "pool.yaml").write_text(POOLS[case])
    with pytest.raises(UserError) as error:
        load_pool(tmp_path / "pool.yaml")
    clear(error.value)


# -- fused systems


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    from fusion_hf import autofuse

    folder = tmp_path_factory.mktemp("malformed")
    autofuse(toy_bench(folder / "bench"), save_pool(toy_pool(), folder / "pool.yaml"), folder / "fused")
    return folder / "fused"


FUSED = {
    "no tasks": {"tasks": {}}, "tasks a list": {"tasks": [1]}, "tasks of numbers": {"tasks": {"sums": 5}},
    "systems null": {"systems": None}, "a recogniser elsewhere": {"recogniser": "../../etc"},
    "a recogniser of a number": {"recogniser": 7}, "thoughts a number": {"thoughts": 5},
    "a system of an unknown kind": {"systems": {"bee": {"kind": "shell", "command": "id"}}},
}  # fmt: skip


@pytest.mark.parametrize("case", FUSED)
def test_a_broken_fused_system(case, fused, tmp_path):
    folder = shutil.copytree(fused, tmp_path / "f")
    file = folder / "fused_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | FUSED[case]))
    with pytest.raises(UserError) as error:
        FusedSystem.from_pretrained(folder).plan(["What is 2 + 3 * 4? Answer with a number."])
    clear(error.value)


@pytest.mark.parametrize("text", ["{no", "[]", "null", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_a_fused_system_whose_configuration_is_no_mapping(text, fused, tmp_path):
    folder = shutil.copytree(fused, tmp_path / "f")
    (folder / "fused_config.json").write_text(text)
    with pytest.raises(UserError) as error:
        FusedSystem.from_pretrained(folder)
    clear(error.value)
