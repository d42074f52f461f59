"""How well the log-probability of an answer tells right from wrong, on a log that was collected without it.

The log's LLM reads its own answers again, after their prompts (teacher forcing). Prints the area under the ROC curve by
task with its 95 % bootstrap interval, and writes the log with the column, for `fusion-hf cv-router … --kind cascade`:

    python benchmarks/logprobs.py log.parquet --llm qwen2.5-coder-0.5b --model models/qwen.gguf --out with.parquet
"""

import argparse

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from tqdm import tqdm

from fusion_hf import Log
from fusion_hf.llms.backends import open_backend
from fusion_hf.llms.pool import LLM
from fusion_hf.llms.requests import messages_of
from fusion_hf.logs.logprobs import mean_logprob, token_logprobs

TOKENS = 1200  # in a batch, padding included
DRAWS = 1000


def logprobs(rows: list[dict], model: str) -> list[float | None]:
    """Mean log-probability of each response by a model from a folder, the Hub or a GGUF file."""
    backend = open_backend(LLM("reader", "small", 0, 0, backend="transformers", model=model))
    prompts = backend.encode([messages_of(row["query"], row["mode"]) for row in rows])
    said = backend.tokenizer([row["response"] for row in rows], add_special_tokens=False)["input_ids"]
    end = [backend.tokenizer.eos_token_id]
    said = [ids + end * (row["finish_reason"] == "stop") for ids, row in zip(said, rows, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: len(prompts[i]) + len(said[i]))
    found: list[float | None] = [None] * len(rows)
    with torch.inference_mode(), tqdm(total=len(rows), unit="answer", disable=None) as bar:
        while order:
            batch = [order.pop()]
            width = len(prompts[batch[0]]) + len(said[batch[0]])
            while order and (len(batch) + 1) * width <= TOKENS:
                batch.append(order.pop())
            ids = torch.full((len(batch), width), backend.pad)
            for k, i in enumerate(batch):
                ids[k, : len(prompts[i]) + len(said[i])] = torch.tensor(prompts[i] + said[i])
            logits = backend.model(ids, use_cache=False).logits  # causal: the padding behind changes nothing
            for k, i in enumerate(batch):
                start, end = len(prompts[i]) - 1, len(prompts[i]) + len(said[i]) - 1
                chosen = logits[k, start:end].float().log_softmax(-1)[range(end - start), said[i]]
                found[i] = mean_logprob(token_logprobs(chosen.tolist()))
            bar.update(len(batch))
    return found


def auc(sign: np.ndarray, right: np.ndarray) -> float:
    """Chance that a right answer has the higher sign than a wrong one; NaN where all are alike."""
    if right.all() or not right.any():
        return np.nan
    more = sign[right][:, None] - sign[~right][None]
    return float(((more > 0) + 0.5 * (more == 0)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", help="graded log with responses: a .parquet or .jsonl file")
    parser.add_argument("--llm", required=True, help="whose answers")
    parser.add_argument("--model", required=True, help="the same LLM: folder, Hub id or .gguf file")
    parser.add_argument("--out", help="the log with the column: a .parquet file that is not there")
    options = parser.parse_args()
    table = Log(options.log).table()
    mine = pc.and_(pc.equal(table["llm"], options.llm), pc.is_valid(table["response"])).to_pylist()
    places = np.flatnonzero(mine)
    rows = table.take(pa.array(places)).to_pylist()
    column = table["mean_logprob"].to_pylist()
    for i, value in zip(places, logprobs(rows, options.model), strict=True):
        column[i] = value
    task = np.array([row["task"] for row in rows])
    sign, right = (
        np.array(v, float) for v in ([column[i] for i in places], [row["performance"] for row in rows])
    )  # NaN for null
    rng = np.random.default_rng(0)
    for name in np.unique(task):
        seen = np.flatnonzero((task == name) & ~np.isnan(right) & ~np.isnan(sign))
        draws = [auc(sign[i], right[i] > 0.5) for i in rng.choice(seen, (DRAWS, len(seen)))]
        low, high = np.nanpercentile(draws, [2.5, 97.5])
        print(f"{name}: {auc(sign[seen], right[seen] > 0.5):.3f} [{low:.3f}, {high:.3f}], {len(seen)} answers")
    if options.out:
        place = table.column_names.index("mean_logprob")
        table = table.set_column(place, table.schema.field(place), pa.chunked_array([pa.array(column, pa.float32())]))
        Log(table).write(options.out)


if __name__ == "__main__":
    main()
