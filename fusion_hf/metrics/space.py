"""The form that a metric's Space shows. `evaluate`'s own needs ``gradio.inputs``, which gradio no longer has."""

import json
from pathlib import Path
from typing import Any


def interface(script: str | Path, example: dict, config: str | None = None) -> Any:
    """A gradio form over a metric: its inputs and options as one JSON object, its result as JSON.

    Args:
        script: The metric's Python file.
        example: What stands in the form at first.
        config: The metric's config at first; None for a metric without configs.
    """
    import evaluate
    import gradio  # type: ignore[import-not-found]

    def compute(arguments: str, config: str) -> dict:
        metric = evaluate.load(str(script), config or None, keep_in_memory=True)
        return metric.compute(**json.loads(arguments))

    info = evaluate.load(str(script), config).info
    return gradio.Interface(
        compute,
        inputs=[
            gradio.Code(json.dumps(example, indent=1), language="json", label="arguments of compute()"),
            gradio.Textbox(config or "", label="config", visible=config is not None),
        ],
        outputs=gradio.JSON(label="result"),
        title=Path(script).stem,
        description=f"{info.description}\n\n{info.inputs_description}",
        flagging_mode="never",
    )
