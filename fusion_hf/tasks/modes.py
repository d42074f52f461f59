"""How a query is asked: the modes of a log row, and the ids of candidates (an LLM in a mode)."""

MODES = ("direct", "think", "thought")
"""``direct``: the query as it is. ``think``: with the think suffix. ``thought``: after retrieved thought templates."""

PLAIN_MODES = ("direct", "think")
"""The modes that need nothing but the query: what is collected unless one asks for more."""

THINK_SUFFIX = "\nLet's think step by step."


def with_mode(query: str, mode: str) -> str:
    """The query as it is sent in `mode`: followed by the think suffix for ``think``, else unchanged.

    What stands before a query in mode ``thought`` is retrieved (see `fusion_hf.thoughts`) and differs query by query.
    """
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}: expected one of {', '.join(MODES)}")
    return query + THINK_SUFFIX if mode == "think" else query


def candidate_id(llm: str, mode: str) -> str:
    """``<llm>`` in direct mode, ``<llm>_think`` in think mode, ``<llm>_thought`` in thought mode."""
    return llm if mode == "direct" else f"{llm}_{mode}"


def split_candidate(candidate: str) -> tuple[str, str]:
    """(llm, mode) of a candidate id."""
    for mode in MODES[1:]:
        if candidate.endswith(f"_{mode}"):
            return candidate.removesuffix(f"_{mode}"), mode
    return candidate, "direct"
