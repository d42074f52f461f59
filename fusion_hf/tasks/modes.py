"""How a query is asked: the modes of a log row, and the ids of candidates (an LLM in a mode)."""

MODES = ("direct", "think", "thought", "fewshot")
"""``direct``: the query as it is. ``think``: with the think suffix. ``thought``: after the thought templates of similar
queries. ``fewshot``: after similar queries with right answers."""

PLAIN_MODES = ("direct", "think")
"""The modes that need nothing but the query: what is collected unless one asks for more."""

RETRIEVED_MODES = ("thought", "fewshot")
"""The modes that put something retrieved before a query (see `fusion_hf.thoughts`)."""

THINK_SUFFIX = "\nLet's think step by step."


def with_mode(query: str, mode: str) -> str:
    """The query as it is sent in `mode`: followed by the think suffix for ``think``, else unchanged.

    What stands before a query in one of `RETRIEVED_MODES` differs query by query.
    """
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}: expected one of {', '.join(MODES)}")
    return query + THINK_SUFFIX if mode == "think" else query


def candidate_id(llm: str, mode: str) -> str:
    """``<llm>`` in direct mode, ``<llm>_think`` in think mode, and so on."""
    return llm if mode == "direct" else f"{llm}_{mode}"


def split_candidate(candidate: str) -> tuple[str, str]:
    """(llm, mode) of a candidate id."""
    for mode in MODES[1:]:
        if candidate.endswith(f"_{mode}"):
            return candidate.removesuffix(f"_{mode}"), mode
    return candidate, "direct"
