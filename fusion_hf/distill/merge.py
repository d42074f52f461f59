"""An adapter merged into its base: one plain model folder that any server loads."""

import shutil
from pathlib import Path

from ..errors import UserError, require
from ..gguf import load_causal_lm, load_tokenizer
from ..outputs import atomic_folder, check_folder
from .base_model import read_base
from .report import REPORT, RESULTS
from .training import first_line


def merge(
    adapter: str | Path, out: str | Path, base: str | None = None, dtype: str = "auto", overwrite: bool = False
) -> Path:
    """Write the base model with a LoRA adapter merged into its weights, and its tokenizer; returns the folder.

    Arguments are those of `fusion_hf.merge`.

    Raises:
        UserError: There is no adapter, or it or its base cannot be loaded.
    """
    peft = require("peft", extra="train")
    adapter = Path(adapter)
    config = adapter / "adapter_config.json"
    if not config.is_file():
        raise UserError(f"{adapter}: expected a LoRA adapter (adapter_config.json), found none")
    if adapter.resolve() == Path(out).resolve():
        raise UserError(f"{out} is the adapter itself: give another folder")
    out = check_folder(out, "model", overwrite)
    base = base or read_base(adapter)
    try:
        model = load_causal_lm(base, dtype=dtype)
        # In the base's own precision, so that what is served is what was measured.
        model = peft.PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
        tokenizer = load_tokenizer(str(adapter))
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{adapter} cannot be merged into {base}: {first_line(error)}") from error
    with atomic_folder(out, "model", overwrite) as new:
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        for name in (REPORT, RESULTS, "README.md"):
            if (adapter / name).is_file():
                shutil.copy2(adapter / name, new / name)
    return out
