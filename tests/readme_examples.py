"""Run the README's examples, in order, in its folder: python tests/readme_examples.py README.md

Blocks marked ```bash and ```python are run; a block under an HTML comment <!-- not run: reason --> is skipped, and
said so. Commands find the environment of this interpreter first.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]*) -->\n)?```(?P<language>bash|python)\n(?P<code>.*?)```", re.S)


def main(readme: str) -> int:
    here = Path(readme).resolve().parent
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
    }
    done = 0
    for block in BLOCK.finditer(Path(readme).read_text(encoding="utf-8")):
        code = block["code"]
        title = code.strip().splitlines()[0][:80]
        if block["reason"]:
            print(f"-- not run ({block['reason']}): {title}", flush=True)
            continue
        print(f"-- {block['language']}: {title}", flush=True)
        command = (
            ["bash", "-euo", "pipefail", "-c", code] if block["language"] == "bash" else [sys.executable, "-c", code]
        )
        start = time.time()
        result = subprocess.run(command, cwd=here, env=environment, check=False)
        if result.returncode:
            print(f"README example failed with exit code {result.returncode}:\n{code}")
            return 1
        done += 1
        print(f"   {time.time() - start:.0f} s", flush=True)
    print(f"{done} examples ran")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
