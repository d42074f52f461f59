"""How ``trust_remote_code=True`` finds the pipeline where fusion_hf is missing.

Transformers asks for trust as soon as a config.json names a pipeline's code, even where that pipeline is registered by
an installed package. So the saved config.json names only this file, which is looked at with trust alone, and which adds
the pipeline's name then. This file is copied beside pipelines.
"""

import copy
import json
from pathlib import Path

from transformers import AutoConfig

PIPELINES = {
    "thought-fusion": {"impl": "pipeline.ThoughtFusionPipeline", "pt": ["AutoModelForCausalLM"], "type": "text"}
}


class PipelineConfig:
    """Loads the model's own configuration, with the pipeline's name in it."""

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Nothing to register: `from_pretrained` gives a configuration of transformers itself."""

    @classmethod
    def from_pretrained(cls, path, **kwargs):
        """As `AutoConfig.from_pretrained`."""
        loaded = AutoConfig.from_pretrained(path, trust_remote_code=False, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        config.custom_pipelines = copy.deepcopy(PIPELINES)  # transformers puts classes into it
        return loaded


def name_pipeline(folder: Path) -> None:
    """Make the config.json of a saved model lead to the pipeline's code beside it."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("custom_pipelines", None)
    known = config.setdefault("auto_map", {})
    if "AutoConfig" in known and known["AutoConfig"] != "remote_config.PipelineConfig":
        config["custom_pipelines"] = PIPELINES  # a model of remote code itself: nothing loads without trust anyway
    else:
        known["AutoConfig"] = "remote_config.PipelineConfig"
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
