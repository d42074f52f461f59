"""Cards are rendered from the Jinja templates in ``model_cards/``, with figures that were measured and nothing else."""

from pathlib import Path

import jinja2
import yaml

# In a wheel the templates lie inside the package; in a checkout they lie beside it.
_FOLDERS = [Path(__file__).parent / "model_cards", Path(__file__).parent.parent / "model_cards"]


def render_card(template: str, header: dict, **values) -> str:
    """Render ``model_cards/<template>.md.jinja`` with YAML metadata `header`; a missing value is an error."""
    folder = next(f for f in _FOLDERS if f.is_dir())
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return environment.get_template(f"{template}.md.jinja").render(header=text, **values)
