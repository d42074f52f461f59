"""Run the examples of Markdown pages, in order: python tests/readme_examples.py README.md docs/guides/*.md

Blocks marked ```bash and ```python are run; a block under an HTML comment <!-- not run: reason --> is skipped, and
said so. So is a block with a title: that is a file, which a test writes where the title says. Commands find the
environment of this interpreter first. They run in the current folder, where the README's first command leaves `demo/`.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]*) -->\n)?```(?P<language>bash|python)\n(?P<code>.*?)```", re.S)


def main(*pages: str) -> int:
    done = 0
    for page in pages:
        print(f"== {page}", flush=True)
        for block in BLOCK.finditer(Path(page).read_text(encoding="utf-8")):
            title = block["code"].strip().splitlines()[0][:80]
            if block["reason"]:
                print(f"-- not run ({block['reason']}): {title}", flush=True)
                continue
            print(f"-- {block['language']}: {title}", flush=True)
            start = time.time()
            if code := run(block["language"], block["code"]):
                print(f"An example of {page} failed with exit code {code}:\n{block['code']}")
                return 1
            done += 1
            print(f"   {time.time() - start:.0f} s", flush=True)
    print(f"{done} examples ran")
    return 0 if done else 1


def run(language: str, code: str) -> int:
    """Exit code of one block."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
    }
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
