"""Cards of thought templates, and of a pipeline that is saved with them."""

import json
from pathlib import Path

from ..cards import PLACE, render_card
from ..made import local_name, shown
from ..outputs import write_text
from .files import write_readme
from .index import TemplateIndex


def write_pipeline_card(folder: str | Path, repo_id: str = PLACE) -> None:
    """README.md of a saved pipeline ``thought-fusion``: a model with its templates beside it."""
    from huggingface_hub import ModelCardData

    index = json.loads((Path(folder) / "thought_templates" / "index_config.json").read_text(encoding="utf-8"))
    header = ModelCardData(
        library_name="fusion_hf", pipeline_tag="text-generation", tags=["fusion_hf", "thought-templates"]
    )
    text = render_card(
        "pipeline", header, repo_id=repo_id, templates=index["templates"], encoder=local_name(index["encoder"]),
        has_encoder=bool(index.get("has_encoder")),
        training=shown(index.get("training"), "fusion-hf templates LOG {} --out TEMPLATES"),
    )  # fmt: skip
    write_text(Path(folder) / "README.md", text)


def write_templates_card(folder: str | Path, repo_id: str = PLACE) -> None:
    """README.md of thought templates: what `TemplateIndex.save_pretrained` writes."""
    index = TemplateIndex.from_pretrained(folder)
    write_readme(Path(folder), index.table, index.encoder_name, repo_id)


CARDS = {"pipeline": write_pipeline_card, "templates": write_templates_card}
"""Kind of folder -> what writes its README.md; see `fusion_hf.hub`."""
