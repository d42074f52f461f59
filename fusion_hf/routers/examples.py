"""Logged queries that a router carries along, to say which of them a new query is like and who solved those.

This file is copied beside checkpoints (see `remote_code`).
"""

from collections.abc import Sequence

import numpy as np
import torch

MOST = 5000  # examples in a checkpoint: about 4 MB with a 384-d encoder
CHARACTERS = 160  # of each text, its end: long prompts end with the question itself


def remember(
    x: np.ndarray, texts: Sequence[str], performance: np.ndarray, columns: int, most: int = MOST
) -> dict[str, torch.Tensor]:
    """Buffers that hold at most `most` of the training queries, spread evenly over them.

    Args:
        x: Features, [n, d].
        texts: n query texts.
        performance: [n, m], NaN where not measured.
        columns: Leading columns of x in which likeness is measured; 0 for all.
        most: Zero remembers nothing.
    """
    if not most or not len(x):
        return {}
    rows = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).astype(np.int64))
    vectors = torch.from_numpy(np.ascontiguousarray(x[rows, : columns or None], np.float32))
    shown = [texts[i].strip().replace("\n", " ")[-CHARACTERS:].encode("utf-8", "replace") for i in rows]
    return {
        "logged_features": torch.nn.functional.normalize(vectors, dim=1).half(),
        "logged_performance": torch.from_numpy(performance[rows].astype(np.float16)),
        "logged_text": torch.frombuffer(bytearray(b"".join(shown) or b" "), dtype=torch.uint8).clone(),
        "logged_text_ends": torch.tensor([0, *np.cumsum([len(s) for s in shown])], dtype=torch.int64),
    }


def nearest_logged(router, x: torch.Tensor, k: int) -> list[list[dict]]:
    """For every row of x the k most similar logged queries, the nearest first.

    Each is ``{"query", "similarity", "scores": {candidate: performance}}``, with the scores that were measured. A
    router without examples gives empty lists.
    """
    memory = getattr(router, "logged_features", None)
    if memory is None:
        return [[] for _ in x]
    memory = memory.float()
    similarity = torch.nn.functional.normalize(x[:, : memory.shape[1]].float(), dim=1) @ memory.T
    found = similarity.topk(min(k, len(memory)), dim=1)
    text, ends = router.logged_text.cpu().numpy().tobytes(), router.logged_text_ends.tolist()
    scores = router.logged_performance.float().cpu().numpy()
    names = router.learned_candidates
    result = []
    for values, rows in zip(found.values.tolist(), found.indices.tolist(), strict=True):
        result.append(
            [
                {
                    "query": text[ends[row] : ends[row + 1]].decode("utf-8", "ignore"),
                    "similarity": value,
                    "scores": {n: float(s) for n, s in zip(names, scores[row], strict=True) if not np.isnan(s)},
                }
                for value, row in zip(values, rows, strict=True)
            ]
        )
    return result
