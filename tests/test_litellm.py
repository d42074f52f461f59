"""A real LiteLLM proxy on loopback, with our routing plugin, in front of two endpoints."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched
pytest.importorskip("litellm", reason="needs the extra litellm")

import openai
from loopback_llm import Act, LoopbackLLM
from served import CODE, SUM, toy_router, wait_for

from fusion_hf.errors import UserError

pytestmark = [
    pytest.mark.litellm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Item:UserWarning:pydantic.*"),
]
KEY = "sk-loopback-0123456789abcdef"
PLUGIN = """from fusion_hf.serving.litellm_plugin import FusionPlugin

plugin = FusionPlugin({router!r}, groups=["auto"])
"""


def config(bee, dog):
    """The proxy's configuration: one group of two candidates, and one that is not ours."""

    def deployment(group, llm, url, **info):
        params = {"model": f"openai/{llm}", "api_base": url, "api_key": "none"}
        return {"model_name": group, "litellm_params": params, "model_info": info}

    return {
        "model_list": [
            deployment("auto", "bee", bee.url),
            deployment("auto", "hound", dog.url, fusion_hf="dog"),
            deployment("pair", "bee", bee.url), deployment("pair", "hound", dog.url),
        ],
        "router_settings": {"plugins": ["fusion_router.plugin"], "num_retries": 2, "retry_after": 0,
                            "allowed_fails": 1, "cooldown_time": 60},
        "general_settings": {"master_key": KEY},
    }  # fmt: skip


class Proxy:
    """The proxy, ready when the ``with`` statement begins."""

    def __init__(self, folder: Path, bee, dog):
        self.folder = folder
        toy_router().save_pretrained(folder / "router")
        (folder / "fusion_router.py").write_text(PLUGIN.format(router=str(folder / "router")))
        (folder / "config.yaml").write_text(json.dumps(config(bee, dog)))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]

    def __enter__(self):
        command = [str(Path(sys.executable).with_name("litellm")), "--config", str(self.folder / "config.yaml"),
                   "--host", "127.0.0.1", "--port", str(self.port)]  # fmt: skip
        root = Path(__file__).parent.parent
        env = os.environ | {"PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_DOCS": "True"}
        self._log = (self.folder / "proxy.log").open("w")
        self._process = subprocess.Popen(command, env=env, stdout=self._log, stderr=subprocess.STDOUT)
        wait_for(self._ready, 180)
        return self

    def _ready(self) -> bool:
        assert self._process.poll() is None, (self.folder / "proxy.log").read_text()[-3000:]
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def ask(self, text, model="auto", **options):
        """(model that answered, headers) of one request."""
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=KEY, max_retries=0)
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        raw = client.chat.completions.with_raw_response.create(model=model, messages=messages, **options)
        return raw.parse(), raw.headers


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A proxy, bee and dog."""
    ill = set()

    def behave(name):
        return lambda prompt, times: Act(status=500) if name in ill else Act(text=f"I am {name}.")

    folder = tmp_path_factory.mktemp("proxy")
    with LoopbackLLM(behave("bee")) as bee, LoopbackLLM(behave("dog")) as dog, Proxy(folder, bee, dog) as proxy:
        yield proxy, bee, dog, ill


def test_the_router_chooses_the_deployment(world):
    proxy, bee, dog, _ = world
    for _ in range(4):
        reply, headers = proxy.ask(SUM)
        assert reply.choices[0].message.content == "I am bee."
        assert headers["x-fusion-candidate"] == "bee" and float(headers["x-fusion-expected-score"]) > 0.5
        reply, headers = proxy.ask(CODE, extra_body={"metadata": {"fusion": {"candidates": ["dog"]}}})
        assert reply.choices[0].message.content == "I am dog." and headers["x-fusion-candidate"] == "dog"
    assert len(bee.seen) == 4 and len(dog.seen) == 4 and "fusion" not in json.dumps(dog.seen[-1].body)


def test_streams_parts_and_options(world):
    proxy, *_ = world
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{proxy.port}/v1", api_key=KEY, max_retries=0)
    parts = [{"role": "user", "content": [{"type": "text", "text": SUM}]}]
    chunks = list(client.chat.completions.create(model="auto", messages=parts, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "I am bee."
    parts[0]["content"].append({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}})
    assert proxy.ask(parts)[1]["x-fusion-candidate"] == "bee"
    odd = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}]
    assert "x-fusion-candidate" not in proxy.ask(odd)[1]  # no text: LiteLLM chooses
    cheap, _ = proxy.ask(SUM, extra_body={"metadata": {"fusion": {"scenario": "cost"}}})
    assert cheap.choices[0].message.content == "I am bee."
    for wrong, words in (({"scenario": "thrift"}, "fusion.scenario: expected one of"), ({"max": 1}, "unknown option"),
                         ({"max_cost": 1e-12}, "no candidate is expected to cost")):  # fmt: skip
        with pytest.raises(openai.BadRequestError, match=words):
            proxy.ask(SUM, extra_body={"metadata": {"fusion": wrong}})


def test_groups_that_are_not_ours_are_left_to_litellm(world):
    proxy, *_ = world
    found = set()
    for _ in range(40):
        reply, headers = proxy.ask(SUM, model="pair")
        assert "x-fusion-candidate" not in headers
        found.add(reply.choices[0].message.content)
    assert found == {"I am bee.", "I am dog."}


def test_where_the_best_fails_the_next_best_answers(world):
    proxy, bee, _, ill = world
    ill.add("bee")
    before = len(bee.seen)
    for _ in range(6):  # first by a second try, later because bee rests
        reply, headers = proxy.ask(SUM)
        assert reply.choices[0].message.content == "I am dog." and headers["x-fusion-candidate"] == "dog"
    assert 1 <= len(bee.seen) - before < 6
    ill.clear()


def test_a_new_version_of_the_router_is_taken_over(world, tmp_path):
    from toy_fused import toy_splits

    from fusion_hf.routers import fit_router

    proxy, *_ = world
    only = toy_splits()["train"].select(["cat", "dog"])
    fit_router("knn", only, encoder="none", progress=False).save_pretrained(tmp_path / "new")
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(tmp_path / "new" / name, proxy.folder / "router" / f"{name}.part")
    for name in ("model.safetensors", "config.json"):
        os.replace(proxy.folder / "router" / f"{name}.part", proxy.folder / "router" / name)
    wait_for(lambda: proxy.ask(SUM)[0].choices[0].message.content == "I am dog.", 60)


def test_the_sdk_takes_the_plugin_too_and_errors_are_plain(tmp_path):
    import litellm

    from fusion_hf.serving.litellm_plugin import FusionPlugin

    with pytest.raises(UserError):
        FusionPlugin(tmp_path / "nothing")
    toy_router().save_pretrained(tmp_path / "router")
    with pytest.raises(UserError, match="groups: expected a list"):
        FusionPlugin(tmp_path / "router", groups="auto")
    with LoopbackLLM() as bee, LoopbackLLM(lambda prompt, times: Act(text="I am dog.")) as dog:

        async def ask():
            router = litellm.Router(config(bee, dog)["model_list"], plugins=[FusionPlugin(tmp_path / "router")])
            for _ in range(5):
                await router.acompletion("auto", [{"role": "user", "content": SUM}])

        asyncio.run(ask())
        assert len(bee.seen) == 5 and not dog.seen
