"""Models in llama.cpp's GGUF files, as ordinary models of transformers: their quantised weights are taken apart."""

from pathlib import Path
from typing import Any

from .errors import UserError, require


def split_gguf(model_id: str, gguf_file: str | None = None) -> tuple[str, str | None]:
    """(folder or Hub id, name of the GGUF file in it or None): ``models/a.gguf`` is ``a.gguf`` in ``models``."""
    if gguf_file is None and str(model_id).endswith(".gguf"):
        path = Path(model_id)
        return str(path.parent), path.name
    return model_id, gguf_file


def load_tokenizer(model_id: str, gguf_file: str | None = None, **options: Any) -> Any:
    """The tokenizer of a folder, a Hub id or a GGUF file; see `load_causal_lm`."""
    from transformers import AutoTokenizer

    folder, file = split_gguf(model_id, gguf_file)
    options.setdefault("trust_remote_code", False)  # else transformers asks on standard input
    if file is None:
        return AutoTokenizer.from_pretrained(folder, **options)
    _check(folder, file)
    return AutoTokenizer.from_pretrained(folder, gguf_file=file, **options)


def load_causal_lm(model_id: str, gguf_file: str | None = None, dtype: Any = "auto", **options: Any) -> Any:
    """A causal language model of a folder, a Hub id or a GGUF file.

    A model from a GGUF file can be trained, saved and pushed like any other.

    Args:
        model_id: A folder or Hub id, or the path of a ``.gguf`` file.
        gguf_file: Name of the file in the folder or repository.
        dtype: Of the weights; ``auto`` is what the folder says, and for a GGUF file bfloat16 on a GPU and float32 on a
            CPU.

    Raises:
        UserError: The extra ``gguf`` is not installed, or there is no such file.
    """
    from transformers import AutoModelForCausalLM

    folder, file = split_gguf(model_id, gguf_file)
    options.setdefault("trust_remote_code", False)
    if file is None:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)
    _check(folder, file)
    import torch
    from transformers.utils.quantization_config import GgufConfig

    if dtype in ("auto", None):
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    elif isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=dtype, quantization_config=GgufConfig(dequantize=True), **options
    )
    # The weights are plain tensors now; what still says otherwise makes save_pretrained refuse.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # Where adapters that are trained on it look for it.
    model.name_or_path = model.config._name_or_path = str(Path(folder) / file)
    return model


def _check(folder: str, file: str) -> None:
    require("gguf", "gguf")
    if Path(folder).is_dir() and not (Path(folder) / file).is_file():
        found = ", ".join(sorted(p.name for p in Path(folder).glob("*.gguf"))) or "none"
        raise UserError(f"{folder}: expected the GGUF file {file}, found {found}")
    if not Path(folder).is_dir() and (folder.count("/") != 1 or folder.startswith((".", "/", "~"))):
        raise UserError(f"{Path(folder) / file}: expected a GGUF file, found nothing there")
