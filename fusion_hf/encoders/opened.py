"""From a name to the text encoder: plain ones, language models read inside, and several side by side."""

import re
from pathlib import Path

import torch

from ..errors import UserError
from ..gguf import load_causal_lm, load_tokenizer
from .encoder import MAX_LENGTH, NONE, TextEncoder, load_encoder, resolve_encoder
from .hidden_states import POOLINGS, HiddenStates, depth
from .joint import JointEncoder

DEPTHS = (1 / 3, 1 / 2, 2 / 3, 5 / 6)  # of a language model that are tried, unless a layer is given
OPTIONS = {"layer": int, "pooling": str, "tokens": int}
_GENERATES = re.compile(r"ForCausalLM$|GPT\w*LMHeadModel$")


def open_encoder(name: str) -> TextEncoder | None:
    """The encoder of routers called `name`; None for ``none``.

    Args:
        name: See `fusion_hf.train_router`: names between commas stand side by side, and a name may go on with
            ``@layer=12``, ``@pooling=last`` or ``mean``, and ``@tokens=128``. A language model (a folder, Hub id or
            GGUF file) is read after a layer; where layer or pooling is not given, the encoder holds several, of which
            `fusion_hf.routers.fit_encoder` chooses one.

    Raises:
        UserError: An encoder cannot be had, or the name is wrong.
    """
    if name == NONE:
        return None
    parts = [_open(*read_name(part)) for part in split_names(name)]
    if len(parts) == 1 and not isinstance(parts[0], HiddenStates):
        return parts[0]
    return JointEncoder(parts)


def split_names(name: str) -> list[str]:
    """The names between the commas of an encoder's name."""
    return [name] if Path(name).exists() else name.split(",")


def base_names(name: str) -> list[str]:
    """The encoders of a name, without their options."""
    return [read_name(part)[0] for part in split_names(name)]


def is_local(name: str) -> bool:
    """Whether the name of one encoder is a path of this machine."""
    return Path(name).exists() or name.startswith((".", "/", "~"))


def public_name(name: str) -> str:
    """The name of an encoder as it may be published: of a path the last part."""

    def plain(part: str) -> str:
        base = part if part == NONE else read_name(part)[0]
        return (Path(base).name if is_local(base) else base) + part[len(base) :]

    return ",".join(plain(part) for part in split_names(name))


def read_name(text: str) -> tuple[str, dict[str, int | str]]:
    """(name, options) of ``NAME@OPTION=VALUE…``. Raises `UserError`."""
    name, *rest = re.split(rf"@(?=(?:{'|'.join(OPTIONS)})=)", text.strip())
    options: dict[str, int | str] = {}
    for option in rest:
        word, _, value = option.partition("=")
        try:
            options[word] = OPTIONS[word](value)
        except ValueError:
            raise UserError(f"encoder {text!r}: {word}: expected a whole number, found {value!r}") from None
    if not name or name == NONE:
        raise UserError(f"encoder {text!r}: expected names of encoders between commas, found {name or 'nothing'!r}")
    if options.get("tokens", 2) < 2 or options.get("pooling", "last") not in POOLINGS:
        raise UserError(f"encoder {text!r}: expected at least 2 tokens, and pooling {' or '.join(POOLINGS)}")
    return name, options


def _open(name: str, options: dict) -> TextEncoder:
    if not _generates(name):
        if set(options) - {"tokens"}:
            raise UserError(f"encoder {name!r}: a layer and a pooling are for causal language models, and it is none")
        return load_encoder(name, options.get("tokens"))
    try:
        tokenizer = load_tokenizer(name)
        model = load_causal_lm(name, dtype=fast_dtype()).base_model.eval()
    except (OSError, ValueError) as error:
        raise UserError(f"encoder {name!r} cannot be loaded ({' '.join(str(error).split())[:300]})") from error
    count = depth(model)
    layers = [options["layer"]] if "layer" in options else sorted({max(1, round(d * count)) for d in DEPTHS})
    poolings = [options["pooling"]] if "pooling" in options else POOLINGS
    limits = [options.get("tokens", MAX_LENGTH), tokenizer.model_max_length,
              getattr(model.config.get_text_config(), "max_position_embeddings", 0)]  # fmt: skip
    blocks = [(layer, pooling) for layer in layers for pooling in poolings]
    return HiddenStates(model, tokenizer, int(min(n for n in limits if n and n > 0)), blocks)


def _generates(name: str) -> bool:
    """Whether a name is that of a causal language model."""
    if name.endswith(".gguf"):
        return True
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(resolve_encoder(name), trust_remote_code=False)
    except (OSError, ValueError):
        return False  # `load_encoder` says what is wrong
    return any(_GENERATES.search(a) for a in config.architectures or [])


def fast_dtype() -> torch.dtype:
    """bfloat16 where the machine multiplies it quickly, else float32."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    known = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if known.get("avx512_bf16") or known.get("amx_bf16") else torch.float32
