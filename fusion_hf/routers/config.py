"""What a router is made of, as it stands in its config.json.

This file is copied beside checkpoints (see `remote_code`).
"""

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig


class RouterConfig(PreTrainedConfig):
    """Configuration of a router.

    Attributes:
        encoder_config: Configuration of the text encoder; None for a router without one, or with `encoders`.
        encoders: Several text encoders, or language models read inside: what `JointEncoder.to_config` says of each.
        encoder_name: Name under which the encoder was asked for.
        max_length: Tokens that the encoder reads of a query.
        candidates: Candidate ids, in the order of the columns of predictions; sorted unless some were added.
        learned: Ids of the candidates that training knew, where they are not the same; None for the same.
        added: Ids of candidates that joined after training; None for none.
        columns: Which of the learned and added columns are left; None for all.
        tasks: Task names of the training log.
        has_cost, has_judge: Whether the log had costs, judge scores.
        scenarios: Trade-offs by name: alpha, beta and score ("performance" or "judge") of the reward.
        scaling: Minimum ("low") and span of performance, cost and judge a task, on the training split.
        trained_on: Number of training queries.
        trained_from: Hub id of the training log, where it came from the Hub.
        training: How it was made: ``settings`` (what `fusion_hf.train_router` takes to make it again: kind, encoder,
            split, task_labels, seed, and every option of the kind, given or not), ``log`` (its fingerprint, queries,
            candidates and answers) and ``versions`` of the packages.
        options: What the kind chose in training, to read.
        buffers: [dtype, shape] of every buffer in the checkpoint.
    """

    sub_configs: ClassVar[dict[str, Any]] = {"encoder_config": AutoConfig}

    encoder_config: dict | PreTrainedConfig | None = None
    encoders: list | None = None
    encoder_name: str = "none"
    max_length: int = 256
    candidates: list | None = None
    learned: list | None = None
    added: list | None = None
    columns: list | None = None
    tasks: list | None = None
    has_cost: bool = False
    has_judge: bool = False
    scenarios: dict | None = None
    scaling: dict | None = None
    trained_on: int = 0
    trained_from: str | None = None
    training: dict | None = None
    options: dict | None = None
    buffers: dict | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.encoder_config, dict):
            settings = dict(self.encoder_config)
            self.encoder_config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        super().__post_init__(**kwargs)
