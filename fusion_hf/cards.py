"""Cards are rendered from the Jinja templates in ``model_cards/``, with figures that were measured and nothing else."""

import hashlib
import re
from pathlib import Path
from typing import Any

import jinja2
import yaml

from .errors import UserError
from .terminal import safe

PLACE = "path/to/this/folder"
"""What stands in a card for where it lies; `fusion_hf.hub.push` puts the repository's id there."""
# In a wheel the templates lie inside the package; in a checkout they lie beside it.
_FOLDERS = [Path(__file__).parent / "model_cards", Path(__file__).parent.parent / "model_cards"]
_SIGNATURE = re.compile(r"\n<!-- written by fusion_hf, (\w+); change a word and the card is yours -->\n\Z")
_CLASSES = {"model": "ModelCard", "dataset": "DatasetCard", "space": "SpaceCard"}


def render_card(template: str, header: Any, **values: Any) -> str:
    """Render ``model_cards/<template>.md.jinja``; a missing value is an error, and so is metadata the Hub cannot read.

    Args:
        template: Name of the template.
        header: YAML metadata: a dict, or a `ModelCardData` or `DatasetCardData` of huggingface_hub (whose
            ``eval_results`` become the model-index).
        values: What the template shows.

    Returns:
        The card, signed (see `untouched`).
    """
    header = header if isinstance(header, dict) else header.to_dict()
    folder = next(f for f in _FOLDERS if f.is_dir())
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    text = environment.get_template(f"{template}.md.jinja").render(header=text, **values)
    check_metadata(text, "dataset" if "configs" in header else "model", f"{template} card")
    return sign(safe(text))


def sign(text: str) -> str:
    """A card with a last line by which `untouched` knows it again."""
    text = _SIGNATURE.sub("", text).rstrip("\n") + "\n"
    return f"{text}\n<!-- written by fusion_hf, {_digest(text)}; change a word and the card is yours -->\n"


def untouched(text: str) -> bool:
    """Whether nobody changed a card since fusion_hf wrote it, so that it may be written anew."""
    found = _SIGNATURE.search(text)
    return found is not None and found[1] == _digest(text[: found.start()])


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def check_metadata(text: str, repo_type: str, where: str = "README.md") -> dict:
    """The YAML metadata of a card, as far as it can be checked without the Hub.

    Args:
        repo_type: ``model``, ``dataset`` or ``space``.

    Raises:
        UserError: It is no YAML, a model-index cannot be read, tags are no list of texts, or `datasets` and
            `base_model` are no ids of the Hub.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        data = getattr(huggingface_hub, _CLASSES[repo_type])(text).data.to_dict()
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise UserError(f"{where}: its metadata cannot be read: {str(error).splitlines()[0]}") from error
    if not all(isinstance(tag, str) for tag in data.get("tags") or []):
        raise UserError(f"{where}: tags: expected a list of texts, found {data['tags']!r:.80}")
    for field in ("datasets", "base_model"):
        names = data.get(field) or []
        for name in [names] if isinstance(names, str) else names:
            try:
                validate_repo_id(name)
            except HFValidationError:
                raise UserError(f"{where}: {field}: expected a Hub id such as user/name, found {name!r}") from None
    return data
