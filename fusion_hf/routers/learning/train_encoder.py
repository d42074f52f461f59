"""Training a text encoder together with what reads its vectors, by `transformers.Trainer`.

So on several GPUs too: by itself in one process, or in one process a GPU under ``accelerate launch`` or ``torchrun``.
This file is copied beside checkpoints (see `remote_code`).
"""

import copy
import sys
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ...encoders.encoder import TextEncoder, padded, pooled
from ...errors import UserError, require
from .gradient import Parameters, Whitened

Loss = Callable[[Parameters, torch.Tensor, torch.Tensor, torch.Generator | None], torch.Tensor]
"""(parameters, standardised features [b, d], places of their rows [b], generator) -> scalar."""


def check_plain(encoder: TextEncoder | None, who: str) -> None:
    """Refuse to train anything but one plain text encoder; before what comes first has cost time."""
    if encoder is None:
        raise UserError(f"{who}: expected the name of a text encoder to train, found none")
    if encoder.parts != [encoder]:
        raise UserError(
            f"{who}: expected one plain text encoder to train, found several, or a language model read inside"
        )


def tune(
    encoder: TextEncoder,
    texts: Sequence[str],
    inputs: Whitened,
    first: Parameters,
    loss: Loss,
    *,
    layers: int | None,
    epochs: float,
    rate: float,
    batch: int,
    max_length: int | None,
    seed: int,
) -> tuple[TextEncoder, np.ndarray, Parameters]:
    """Train a copy of an encoder, and the parameters of a loss with it.

    Args:
        encoder: Stays as it is.
        texts: n texts to learn from.
        inputs: Their features; the first `encoder.size` columns are made anew by the encoder as it learns.
        first: Initial values of the parameters, best those that suit the encoder as it is.
        loss: See `Loss`; the generator is None here.
        layers: How many of the encoder's last layers learn; None for all of it, embeddings included.
        epochs: Passes over the texts.
        rate: Largest step size, of AdamW with warm-up and cosine decay.
        batch: Texts in a step on each device.
        max_length: Tokens read of a text, in training and ever after; None for the encoder's own limit.
        seed: Of dropout and the order of the texts.

    Returns:
        The trained encoder, its vectors of the texts (float32 [n, size]), and the parameters for standardised features.
    """
    require("accelerate", "train")
    model = copy.deepcopy(encoder.model)
    tuned = TextEncoder(model, encoder.tokenizer, min(max_length or encoder.max_length, encoder.max_length))
    _choose_layers(model, layers)
    rows = [{"input_ids": ids, "place": i} for i, ids in enumerate(tuned.tokenize(texts))]
    both = _Both(model, encoder.size, inputs, first, loss)
    with tempfile.TemporaryDirectory() as folder:
        _trainer(both, rows, encoder.tokenizer.pad_token_id, folder, epochs, rate, batch, seed).train()
    model.requires_grad_(True)
    vectors = tuned.encode(texts)
    model.cpu()
    return tuned, vectors, {name: value.detach().cpu() for name, value in both.held.items()}


class _Both(torch.nn.Module):
    """Encoder and loss as the one module that `Trainer` trains."""

    def __init__(self, model: torch.nn.Module, size: int, inputs: Whitened, first: Parameters, loss: Loss):
        super().__init__()
        self.model, self.size, self.scale, self.loss = model, size, inputs.scale, loss
        self.held = torch.nn.ParameterDict(first)
        self.register_buffer("middle", torch.from_numpy(inputs.mean[:size]).float())
        self.register_buffer("rest", inputs.x[:, size:])

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> dict[str, torch.Tensor]:
        made = (pooled(self.model, tokens, mask) - self.middle) * self.scale
        return {"loss": self.loss(self.held, torch.cat([made, self.rest[places]], 1), places, None)}


def _choose_layers(model: torch.nn.Module, layers: int | None) -> None:
    """Let only the last `layers` of the longest stack of a model learn."""
    if layers is None:
        return
    stack = max((m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=len, default=[])
    if not 1 <= layers <= len(stack):
        raise UserError(f"layers: expected 1 to {len(stack)} of this encoder, found {layers}")
    model.requires_grad_(False)
    for block in stack[len(stack) - layers :]:
        block.requires_grad_(True)


def _trainer(both: _Both, rows: list[dict], pad: int | None, folder: str, epochs, rate, batch, seed):
    from transformers import PrinterCallback, Trainer, TrainingArguments

    def collate(part: list[dict]) -> dict[str, torch.Tensor]:
        tokens, mask = padded([row["input_ids"] for row in part], pad)
        return {"tokens": tokens, "mask": mask, "places": torch.tensor([row["place"] for row in part])}

    gpu = torch.cuda.is_available()
    settings = TrainingArguments(
        output_dir=folder, per_device_train_batch_size=batch, num_train_epochs=epochs, learning_rate=rate,
        lr_scheduler_type="cosine", warmup_steps=max(1, round(0.1 * epochs * len(rows) / batch)), weight_decay=0.01,
        seed=seed, bf16=gpu and torch.cuda.is_bf16_supported(), remove_unused_columns=False, save_strategy="no",
        logging_strategy="no", report_to="none", disable_tqdm=not sys.stderr.isatty(), dataloader_pin_memory=gpu,
        train_sampling_strategy="group_by_length", ddp_find_unused_parameters=True,
        use_cpu=not torch.accelerator.is_available(),  # else several processes on a CPU do not find each other
    )  # fmt: skip
    trainer = Trainer(both, settings, data_collator=collate, train_dataset=rows)
    trainer.remove_callback(PrinterCallback)
    return trainer
