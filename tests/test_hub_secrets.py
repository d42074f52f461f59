"""What is never pushed: tokens, keys and passwords in any file, and the values of the key variables in use."""

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import time
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusion_hf.errors import UserError
from fusion_hf.hub.secrets import own_values, refuse_secrets

HF = "hf_" + "A1b2" * 9
OWN = "correct horse/battery+staple"
LOOK = {
    "Hugging Face": HF,
    "Hugging Face, glued": "x" + HF,
    "Hugging Face, organisation": "api_org_" + "a1B2" * 8,
    "OpenAI": "sk-" + "a1B2" * 8,
    "OpenAI, short": "sk-ABCDEF123456",
    "OpenAI, project": "sk-proj-" + "a1B2_-" * 8,
    "Anthropic": "sk-ant-api03-" + "a1B2" * 8,
    "OpenRouter": "sk-or-v1-" + "a1b2" * 16,
    "Stripe": "sk_live_" + "a1B2" * 8,
    "Groq": "gsk_" + "a1B2" * 13,
    "xAI": "xai-" + "a1B2" * 20,
    "NVIDIA": "nvapi-" + "a1B2_" * 12,
    "Replicate": "r8_" + "a1B2" * 9,
    "Perplexity": "pplx-" + "a1B2" * 12,
    "Google": "AIza" + "a1B2" * 8 + "abc",
    "GitHub": "ghp_" + "a1B2" * 9,
    "GitHub, app": "ghs_" + "a1B2" * 9,
    "GitHub, fine": "github_pat_" + "a1B2" * 9 + "_" + "a1B2" * 9,
    "GitLab": "glpat-" + "a1B2" * 5,
    "AWS": "AKIA" + "A1B2" * 4,
    "AWS, temporary": "ASIA" + "A1B2" * 4,
    "AWS secret": "aws_secret_access_key = " + "a1B2" * 10,
    "AWS secret in JSON": '"AWS_SECRET_ACCESS_KEY": "' + "a1/+" * 10 + '"',
    "Slack": "xoxb-" + "1234567890-" * 3 + "aB",
    "npm": "npm_" + "a1B2" * 9,
    "PyPI": "pypi-AgEIcHlwaS5vcmc" + "a1B2" * 9,
    "bearer": "Authorization: Bearer " + "a1B2" * 8,
    "PEM": "-----BEGIN PRIVATE KEY-----\nMIIE",
    "SSH": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "URL": "base_url: https://user:s3cretpass@host.org/v1",
    "URL of a database": "postgresql+psycopg://bob:Tr0ub4dor@db.host.org:5432/x",
    "git": "https://bob:" + HF + "@huggingface.co/x",
}
HARMLESS = (
    "the value of hf_hub_download and hf_transfer, hf_", "sk-learn-is-a-library-with-many-words",
    "risk-averse-a1b2c3d4e5f6g7h8i9",
    "task-" + "a1B2" * 6, "AIza", "ghp_short", "AKIA in words", "npm_config_cache", "xoxb-",
    "-----BEGIN PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----", "https://host:8080/x@y", "http://user@host/",
    "postgres://user:password@db.host.org/x", "mysql://root:hunter22@localhost/x", "redis://a:b@127.0.0.1",
    "https://u:p@h",
    "amqp://bob:s3cret@example.com/", "https://me:$TOKEN@host.org/", "https://me:{token}@host.org/",
    "https://u:***@host.org",
    "see https://a.b/c: then mail bob@host.org", "ratio 3://4:5 @ noon",
    "Authorization: Bearer $KEY", "bearer of good news",
)  # fmt: skip


def look(path, **options):
    """What is refused of a file, or None."""
    try:
        refuse_secrets([path], **options)
    except UserError as error:
        return str(error)
    return None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EXAMPLE_API_KEY", OWN)
    return tmp_path


def test_what_looks_like_a_secret_is_found_in_any_text(folder):
    path = folder / "notes"
    for name, secret in LOOK.items():
        path.write_text(f"first line\nsecond, then {secret}\n")
        said = look(path)
        assert said and "notes: it seems to hold an access token (line 2, a" in said, name
        assert "nothing was pushed" in said and "allow_token_like" in said
        assert not any(part in said for part in secret.split() if len(part) > 12), said  # never shown
        assert look(path, lookalikes=False) is None
    for text in HARMLESS:
        path.write_text(f"{text}\n")
        assert look(path) is None, text


NAMES = ("a.md", "a.csv", "a.tsv", "a.html", "a.log", "a.ipynb", "run.sh", "a.ini", "a.env", "env",
         "TOKEN", "A.JSON", "a.xml",
         "id_rsa", "Dockerfile", "a.bin", "a.parquet", "a.arrow", "a.gz", "weights.safetensors")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_a_text_whatever_its_file_is_called(folder, name):
    for secret in (HF, OWN):
        (folder / name).write_text(json.dumps({"x": secret}))
        assert "line 1" in look(folder / name)


def test_the_value_of_a_key_variable_is_found_and_can_never_be_allowed(folder, monkeypatch):
    monkeypatch.setenv("ODD_NAME", "another long value")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    monkeypatch.setenv("PATH_TOKEN", str(folder))
    path = folder / "a.txt"
    path.write_text(f"abc {folder} another long value")
    assert look(path) is None
    path.write_text(f"my key is {OWN}!")
    said = look(path, lookalikes=False)
    assert "the value of EXAMPLE_API_KEY" in said and OWN not in said and "--allow" not in said
    # A pool among the files says which variables hold keys.
    (folder / "pool.yaml").write_text("llms:\n- {name: m, api_key_env: ODD_NAME}\n")
    path.write_text("it is: another long value")
    with pytest.raises(UserError, match="the value of ODD_NAME"):
        refuse_secrets([path, folder / "pool.yaml"])
    path.write_text("my Hub token")
    assert "the value of your Hub token" in look(path, own="my Hub token")
    assert set(own_values([path])) >= {"EXAMPLE_API_KEY"} and not {"SHORT_TOKEN", "PATH_TOKEN"} & set(
        own_values([path])
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"])
def test_other_ways_to_write_a_text(folder, encoding):
    (folder / "a.txt").write_bytes(("é first\n" * 50 + HF).encode(encoding))
    assert "line 51, a Hugging Face token" in look(folder / "a.txt")


@pytest.mark.parametrize("secret", [HF, OWN])
def test_long_files_are_read_to_their_end(folder, secret):
    path = folder / "long.jsonl"
    for before in (5 << 20, (8 << 20) - 20, (16 << 20) - 3):  # also where one part ends and the next begins
        path.write_text("x" * 99 + "\n" + "x" * (before - 100) + secret)
        assert "line 2" in look(path)
    path.write_text("x " * 2000 + secret)
    assert look(path)


@pytest.mark.parametrize("secret", [HF, OWN])
def test_columns_of_tables(folder, secret):
    text = f"your key {secret}"
    columns = {
        "string": pa.array(["a", None, text]),
        "large": pa.array(["a", text, None], pa.large_string()),
        "binary": pa.array([b"a", text.encode(), b"\xff"]),
        "dictionary": pa.array(["a", text, "a"]).dictionary_encode(),
        "list": pa.array([["a"], [], ["b", text]]),
        "struct": pa.array([{"x": "a", "y": [{"z": text}]}] * 3),
        "map": pa.array([[("k", text)], [], []], pa.map_(pa.string(), pa.string())),
        "view": pa.array(["a", text, "c"], pa.string_view()),
        "keys": pa.array([[(text, "v")], [], []], pa.map_(pa.string(), pa.string())),
    }
    for name, column in columns.items():
        table = pa.table({"n": [1, 2, 3], name: column})
        pq.write_table(table, folder / "a.parquet")
        assert f"column {name}, rows 0 to 2, " in look(folder / "a.parquet"), name
        with pa.ipc.new_file(folder / "a.arrow", table.schema) as file:
            file.write_table(table)
        assert f"column {name}" in look(folder / "a.arrow"), name
        with pa.ipc.new_stream(folder / "b.arrow", table.schema) as file:
            file.write_table(table)
        assert f"column {name}" in look(folder / "b.arrow"), name
    table = pa.table({"n": [1, 2, 3]}).replace_schema_metadata({"note": text})
    pq.write_table(table, folder / "a.parquet")
    assert look(folder / "a.parquet")
    pq.write_table(pa.table({"n": [1], "text": ["harmless"]}), folder / "a.parquet")
    assert look(folder / "a.parquet") is None


def test_packed_files_and_weights(folder):
    from safetensors.numpy import save_file

    with gzip.open(folder / "a.jsonl.gz", "wt") as file:
        file.write("x\n" * 1000 + HF)
    assert "line 1001" in look(folder / "a.jsonl.gz")
    (folder / "b.gz").write_bytes(gzip.compress(HF.encode())[:-20])  # cut: what can be read is looked at or nothing can
    look(folder / "b.gz")
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("in/.env", f"TOKEN={HF}")
    assert "in/.env, line 1" in look(folder / "a.zip")
    weights = {"w": np.zeros(1000, np.float32)}
    save_file(weights, folder / "w.safetensors", {"note": HF})
    assert look(folder / "w.safetensors")
    save_file(weights | {"b": np.frombuffer(f"  {OWN}  ".encode() + bytes(2), np.uint8)}, folder / "w.safetensors")
    assert "the value of EXAMPLE_API_KEY" in look(folder / "w.safetensors")
    save_file(weights, folder / "w.safetensors")
    assert look(folder / "w.safetensors") is None


def in_tar(mode):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        member = tarfile.TarInfo("in/notes.txt")
        member.size = len(HF)
        archive.addfile(member, io.BytesIO(HF.encode()))
    return made.getvalue()


def in_zip(name, data):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return made.getvalue()


def in_png(kind, data, before=b""):
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = (1).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    parts = [chunk(b"IHDR", size), before and chunk(b"IDAT", before), chunk(kind, data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


HIDDEN = {
    "a.bz2": bz2.compress(HF.encode()), "a.xz": lzma.compress(HF.encode()),
    "a.zst": pa.compress(HF.encode(), "zstd", asbytes=True),
    "a.tar": in_tar("w"), "a.tar.gz": in_tar("w:gz"), "a.tar.bz2": in_tar("w:bz2"), "a.tar.xz": in_tar("w:xz"),
    "nested.zip": in_zip("b.zip", in_zip("c.jsonl.gz", gzip.compress(HF.encode()))), "name.zip": in_zip(HF, "x"),
    "text.png": in_png(b"tEXt", b"Comment\0" + HF.encode(), os.urandom(300_000)),
    "packed.png": in_png(b"zTXt", b"Comment\0\0" + zlib.compress(HF.encode())),
    "other.png": in_png(b"iTXt", b"Comment\0\1\0en\0x\0" + zlib.compress(HF.encode())),
    "exif.jpg": b"\xff\xd8\xff\xe1\0\x60Exif\0\0II*\0" + HF.encode() + b"\xff\xd9",
    "data.db": b"SQLite format 3\0" + bytes(5000) + HF.encode() + bytes(5000),
    "secret.yaml": b"data: " + base64.b64encode(HF.encode()),
    "_netrc": b"machine api.corp.com\n  login me\n  password Zx9kLm2Qp8rT4\n",
    "own64.yaml": b"data: " + base64.b64encode(b"me:" + OWN.encode()),
    "own.json": "".join(f"\\u{ord(c):04x}" for c in OWN).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_a_secret_within_something_else_is_found(folder, name):
    (folder / name).write_bytes(HIDDEN[name])
    said = look(folder / name)
    assert said and HF not in said and OWN not in said


@pytest.mark.parametrize(
    "name", [n for n in HIDDEN if n.rsplit(".", 1)[-1] in ("bz2", "xz", "zst", "tar", "zip", "png")]
)
def test_what_cannot_be_unpacked_stops_nothing(folder, name):
    for cut in (10, len(HIDDEN[name]) // 2, len(HIDDEN[name]) - 3):
        (folder / name).write_bytes(HIDDEN[name][:cut])
        look(folder / name)
    (folder / name).write_bytes(HIDDEN[name].replace(HF.encode(), b"x" * len(HF))[:600] + bytes(1000))
    look(folder / name)


def test_noise_is_no_secret(folder):
    (folder / "weights.bin").write_bytes(np.random.default_rng(0).bytes(30_000_000))
    began = time.perf_counter()
    assert look(folder / "weights.bin") is None and time.perf_counter() - began < 10


def test_large_texts_do_not_take_long(folder):
    (folder / "a.txt").write_text(("word http://a.b/c task- x_y {'a': 1} " * 25 + "\n") * 20_000)  # 18 MB
    pq.write_table(
        pa.table({"response": ["word http://a.b/c task- x_y {'a': 1} " * 25] * 20_000}), folder / "a.parquet"
    )
    began = time.perf_counter()
    refuse_secrets([folder / "a.txt", folder / "a.parquet"])
    assert time.perf_counter() - began < 10
