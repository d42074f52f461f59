"""Which layer of a language model a router reads, and which principal components it keeps: learned from its log."""

import numpy as np

from ..encoders.cache import embed_cached
from ..encoders.encoder import TextEncoder
from ..encoders.hidden_states import HiddenStates
from ..encoders.joint import JointEncoder, unit
from ..logs.arrays import RoutingData
from .learning.ridge import SinglePenalty

SIZE = 384  # principal components
FOLDS = 4
PENALTY = 10.0


def fit_encoder(encoder: TextEncoder, data: RoutingData, seed: int = 0, progress: bool = False) -> TextEncoder:
    """The encoder with everything that is learned from a training split; a plain text encoder stays as it is.

    Of a language model the layer and the pooling are chosen from which a ridge predicts all candidates' scores best, by
    cross-validation on `data`; then the vectors of all parts together are reduced to `SIZE` principal components.

    Args:
        encoder: As `open_encoder` gives it.
        data: The training split. The order of its queries does not matter, and tasks are not read.
        seed: Of the folds.
        progress: Show a progress bar while queries are encoded.
    """
    if not isinstance(encoder, JointEncoder) or encoder.axes is not None:
        return encoder
    order = np.argsort(np.array(data.query_ids), kind="stable")
    texts, score = [data.queries[i] for i in order], data.performance[order]
    parts, vectors = [], []
    for part in encoder.parts:
        found = embed_cached(part, texts, progress=progress)
        if isinstance(part, HiddenStates):
            blocks = np.split(found, len(part.blocks), 1)
            best = choose_block(blocks, score, seed)
            part, found = part.only(part.blocks[best]), blocks[best]
        parts.append(part)
        vectors.append(found)
    return JointEncoder(parts).reduced(vectors, SIZE)


def choose_block(blocks: list[np.ndarray], score: np.ndarray, seed: int = 0) -> int:
    """Place of the block [n, d] from which a ridge predicts held-out scores [n, m] with the least squared error."""
    if len(blocks) == 1 or len(score) < FOLDS:
        return 0
    fold = np.random.RandomState(seed).permutation(len(score)) % FOLDS
    errors = []
    for block in blocks:
        x, total = unit(block - block.mean(0)).astype(np.float64), 0.0
        for f in range(FOLDS):
            weight, bias = SinglePenalty(x[fold != f], PENALTY).solve(score[fold != f], PENALTY)
            total += float(np.nansum((x[fold == f] @ weight + bias - score[fold == f]) ** 2))
        errors.append(total)
    return int(np.argmin(errors))
