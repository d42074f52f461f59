"""The page in a real Chromium, by the WebDriver protocol: what it shows, at two widths, and that it loads no more."""

import base64
import contextlib
import json
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="needs the extra serve")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)", allow_module_level=True)

from loopback_llm import Act, LoopbackLLM, free_port
from served import SUM, two, wait_for

from fusion_hf.serving.clients import Client, digest

SHOTS: Path | None = None  # a folder, to look at the page


class Browser:
    """One window of Chromium."""

    def __init__(self, folder: Path, width: int, height: int):
        self._port = free_port()
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._address = f"http://127.0.0.1:{self._port}"
        wait_for(self._up)
        switches = ["headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-proxy-server"]
        options = {"args": [f"--{switch}" for switch in (*switches, f"user-data-dir={folder}")]}
        options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0}}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        self._session = ""
        self._session = f"/session/{self._call('/session', {'capabilities': wanted})['sessionId']}"

    def _up(self) -> bool:
        with contextlib.suppress(OSError):
            return self._call("/status")["ready"]
        return False

    def _call(self, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.loads(reply.read())["value"]

    def open(self, url: str) -> None:
        """Go to an address."""
        self._call(f"{self._session}/url", {"url": url})

    def run(self, script: str):
        """What a script returns."""
        return self._call(f"{self._session}/execute/sync", {"script": script, "args": []})

    def text(self) -> str:
        """All text that is shown."""
        return self.run("return document.body.innerText")

    def complaints(self) -> list[str]:
        """What the console says."""
        return [entry["message"] for entry in self._call(f"{self._session}/se/log", {"type": "browser"})]

    def shot(self, name: str) -> None:
        """A picture, where somebody wants to look."""
        if SHOTS is not None:
            (SHOTS / name).write_bytes(base64.b64decode(self._call(f"{self._session}/screenshot")))

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            request = urllib.request.Request(self._address + self._session, method="DELETE")
            urllib.request.urlopen(request, timeout=30).close()
        self._driver.terminate()
        self._driver.wait(30)


@pytest.mark.parametrize("width, height", [(1280, 900), (390, 844)])
def test_the_page_ranks_says_why_and_shows_the_traffic(tmp_path, width, height):
    marked = "<img src=x onerror=alert(1)>"
    with LoopbackLLM(lambda prompt, times: Act(text=marked)) as bee, LoopbackLLM() as dog, two(bee, dog) as server:
        for _ in range(3):
            assert server.chat().status == 200
        assert server.chat(model="dog").status == 200
        browser = Browser(tmp_path / "profile", width, height)
        try:
            browser.open(server.base)
            wait_for(lambda: "75 %" in browser.text())
            query = json.dumps(f"{SUM} {marked}")
            browser.run(f"document.getElementById('query').value = {query}; document.querySelector('button').click()")
            wait_for(lambda: "bee would answer" in browser.text())
            text = browser.text()
            for words in ("Expected score", "Nearest logged queries", "similarity", "always asking", "dog", "25 %"):
                assert words in text, text
            assert browser.run("return document.images.length") == 0
            wide = "return document.documentElement.scrollWidth <= window.innerWidth"
            assert browser.run(wide), "the page is wider than the window"
            small = "return [...document.querySelectorAll('button, select, textarea')].every(e => e.offsetHeight >= 40)"
            assert browser.run(small), "too small for a finger"
            loaded = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
            assert all(name.startswith(server.base + "/v1/") for name in loaded), loaded
            browser.shot(f"page-{width}.png")
            browser.run("document.getElementById('query').value = ''")
            browser.run("document.getElementById('model').value = 'dog'; document.getElementById('query').value = 'x';"
                        "document.querySelector('button').click()")  # fmt: skip
            wait_for(lambda: "dog would answer" in browser.text())
            assert not browser.complaints()
        finally:
            browser.close()


def test_the_page_asks_for_a_key_where_there_is_one(tmp_path):
    token = "alice-token-0123456789"
    clients = {digest(token): Client("alice", 1.0)}
    with LoopbackLLM() as bee, LoopbackLLM() as dog, two(bee, dog, clients=clients) as server:
        browser = Browser(tmp_path / "profile", 390, 844)
        try:
            browser.open(server.base)
            wait_for(lambda: "expected a known key" in browser.text())
            assert browser.run("return !document.getElementById('key').hidden")
            typed = "k = document.getElementById('key'); k.value = '%s'; k.dispatchEvent(new Event('change'))"
            browser.run(typed % token)
            wait_for(lambda: "today, of $1.00" in browser.text())
        finally:
            browser.close()
