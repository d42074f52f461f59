"""The backend `inference_client` against Text Generation Inference's API, as its schema describes it."""

import json
from pathlib import Path

import pytest
from backend_contract import answer, chat_all
from loopback_llm import LoopbackLLM
from tgi_double import TGI

from fusion_hf.errors import UserError
from fusion_hf.llms.backends import BackendError, open_backend
from fusion_hf.llms.pool import LLM

SCHEMA = Path(__file__).parents[2] / "shared" / "data" / "tgi" / "openapi.json"


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def server():
    with TGI() as server:
        yield server


def tgi(server, api="text_generation", **options):
    options = {"api": api, "max_tokens": 8} | options
    return LLM("tgi", "small", 0, 0, backend="inference_client", base_url=server.url, options=options)


@pytest.mark.parametrize("api", ["text_generation", "chat_completion"])
def test_answers_counts_and_reasons(server, api):
    short, long = chat_all(open_backend(tgi(server, api)), ["abc", "a long prompt"])
    assert (short.text, short.finish_reason, short.input_tokens, short.output_tokens) == ("cba", "stop", 3, 3)
    assert (long.text, long.finish_reason, long.input_tokens, long.output_tokens) == ("tpmorp g", "length", 13, 8)
    assert short.usage_source == "server"


def test_generation_options_become_those_of_the_server(server):
    answer(tgi(server, temperature=0, stop="END", seed=3), "abc")
    answer(tgi(server, temperature=0.5), "abc", max_tokens=2)
    first, second = (body["parameters"] for body in server.seen)
    assert first["max_new_tokens"] == 8 and first["do_sample"] is False and first.get("temperature") is None
    assert (first["stop"], first["seed"], first["details"]) == (["END"], 3, True) and "max_tokens" not in first
    assert second["max_new_tokens"] == 2 and second["do_sample"] is True and second["temperature"] == 0.5


def test_a_prompt_that_the_server_did_not_count_is_estimated(server):
    reply = answer(tgi(server), "!uncounted abcd")
    assert reply.usage_source == "estimated/bytes/4" and (reply.input_tokens, reply.output_tokens) == (4, 4)


@pytest.mark.parametrize("api", ["text_generation", "chat_completion"])
@pytest.mark.parametrize(
    ("prompt", "kind", "message", "wait"),
    [
        ("!overloaded", "rate_limit", "HTTP 429: Model is overloaded", 7),
        ("!generation", "server", "HTTP 424", None),
        ("!incomplete_generation", "server", "HTTP 500", None),
        ("!validation", "bad_request", "HTTP 422", None),
        ("x" * 600, "context_length", "must be <= 512", None),
        ("!slow", "timeout", "no answer within 0.3 s", None),
        ("!odd", "bad_reply", None, None),
        ("!html", "bad_reply", None, None),
        ("!key", "auth", r"Invalid token \*\*\*", None),
    ],
)
def test_refusals_have_the_kind_that_they_mean(server, api, prompt, kind, message, wait, monkeypatch):
    monkeypatch.setenv("EXAMPLE_KEY", "sk-secret")
    llm = LLM(
        "tgi", "small", 0, 0, backend="inference_client", base_url=server.url, api_key_env="EXAMPLE_KEY",
        options={"api": api, "max_tokens": 8},
    )  # fmt: skip
    with pytest.raises(BackendError, match=message) as error:
        answer(llm, prompt, timeout=0.3 if prompt == "!slow" else 5)
    assert (error.value.kind, error.value.retry_after) == (kind, wait)


def test_the_hub_token_goes_to_no_server_that_it_was_not_meant_for(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_private")
    with LoopbackLLM() as server:
        answer(LLM("far", "small", 0, 0, backend="inference_client", base_url=server.url))
    assert "hf_private" not in str(server.seen[0].headers)


def test_wrong_pools(server, monkeypatch):
    with pytest.raises(UserError, match="tgi: expected api one of chat_completion, text_generation, found 'chat'"):
        open_backend(tgi(server, api="chat"))
    with pytest.raises(UserError, match=r"tgi: unknown option 'max_token' .did you mean 'max_tokens'"):
        open_backend(tgi(server, max_token=1))
    options = {"api": "text_generation"}
    with pytest.raises(UserError, match="hub: expected base_url because api is 'text_generation'"):
        open_backend(LLM("hub", "small", 0, 0, backend="inference_client", options=options))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="found HF_HUB_OFFLINE=1"):
        open_backend(tgi(server))


def test_providers_are_endpoints_of_their_own():
    llms = [
        LLM("a", "small", 0, 0, backend="inference_client", model="org/a", options=options)
        for options in ({}, {"provider": "together"}, {"provider": "novita", "bill_to": "org"})
    ]
    assert [open_backend(llm).endpoint for llm in llms] == ["provider:auto", "provider:together", "provider:novita"]


@pytest.mark.skipif(not SCHEMA.is_file(), reason="needs ../shared/data/tgi/openapi.json")
def test_the_double_follows_the_published_schema(server):
    for api in ("text_generation", "chat_completion"):
        prompts = ["abc", "!overloaded", "!generation", "!validation", "x" * 600]
        chat_all(open_backend(tgi(server, api)), prompts)
    schemas = json.loads(SCHEMA.read_text())["components"]["schemas"]
    assert {name for name, _ in server.sent} == {"GenerateResponse", "ChatCompletion", "ErrorResponse"}
    for name, reply in server.sent:
        check(reply, {"$ref": f"#/components/schemas/{name}"}, schemas)
    for body in server.seen:
        name = "ChatRequest" if body["path"].endswith("completions") else "GenerateRequest"
        sent = {k: v for k, v in body.items() if k not in ("path", "headers", "stream")}
        assert set(sent) <= set(schemas[name]["properties"]), f"{name} has no such field"
        if "parameters" in sent:
            assert set(sent["parameters"]) <= set(schemas["GenerateParameters"]["properties"])
    with pytest.raises(AssertionError):  # the check can fail
        check({"generated_text": 3}, {"$ref": "#/components/schemas/GenerateResponse"}, schemas)


def check(value, schema, schemas, where="reply"):
    """Required fields, types and enumerations of a JSON schema, as far as this one uses them."""
    if "$ref" in schema:
        return check(value, schemas[schema["$ref"].rsplit("/", 1)[1]], schemas, where)
    if value is None and schema.get("nullable"):
        return None
    for part in schema.get("allOf", ()):
        check(value, part, schemas, where)
    if "oneOf" in schema:
        fits = [not _fails(value, part, schemas) for part in schema["oneOf"]]
        assert any(fits), f"{where}: fits none of oneOf"
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if "type" in schema:
        assert isinstance(value, kinds[schema["type"]]), f"{where}: expected {schema['type']}, found {value!r}"
    assert value in schema.get("enum", [value]), f"{where}: {value!r} is not in {schema.get('enum')}"
    if isinstance(value, dict):
        missing = set(schema.get("required", ())) - set(value)
        assert not missing, f"{where}: lacks {missing}"
        for key, part in schema.get("properties", {}).items():
            if key in value:
                check(value[key], part, schemas, f"{where}.{key}")
    for i, item in enumerate(value if isinstance(value, list) else ()):
        check(item, schema.get("items", {}), schemas, f"{where}[{i}]")
    return None


def _fails(value, schema, schemas):
    try:
        check(value, schema, schemas)
    except AssertionError:
        return True
    return False
