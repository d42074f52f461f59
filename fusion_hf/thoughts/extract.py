"""Templates without an LLM: the worked steps of a right answer, its result masked."""

import re
from typing import Any

from .check import MAX_SENTENCES, MAX_WORDS, check, sentences, without_thinking
from .leak import mask
from .solved import Draft, Drafts, Solved

# What ends a worked answer: the rest of the line states the result.
_FINAL = re.compile(
    r"####|\\boxed|^\W*\(?[A-J]\)?\W*$"
    r"|(?:[,;]?\s*\b(?:so|thus|hence|therefore)\b,?\s*)?(?:\b(?:the|my)\s+)?(?:\b(?:final|correct|right)\s+)?"
    r"\b(?:answer|option)\s*(?:is\b|:|=)",
    re.I,
)
_BOLD = re.compile(r"(?<!\w)\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*(?!\w)")
_OPENED = re.compile(r"(?:\\[(\[]|\$+)\s*$")  # a formula that held nothing but the result
_STATES = re.compile(r"(?:\b(?:is|are|equals|was|were)|=)$")
_CODE = re.compile(r"^\s*(?:def \w+\(|import \w|from \w+ import|class \w+.*:\s*$)|```", re.M)
_CODE_LINE = re.compile(r"[=(\[]|^\s*(?:def|return|import|from|if|for|while|else|elif)\b.*:?$|^\s*>>>|:\s*$")
_CHATTER = re.compile(r"(?:sure|certainly|here(?:'s| is| are)|test cases?|example usage|note that)\b", re.I)
_CODE_BLOCK = re.compile(r"```.*?(?:```|$)|\[BEGIN\].*?(?:\[DONE\]|$)", re.S)


class ExtractiveSummariser:
    """Needs no LLM: the worked steps of the best right answer that shows any, with the final answer masked by ``?``.

    It looks through all right answers in the order of the rule, since the cheapest is often the bare answer.
    """

    name = "extractive"
    prompt_version = "2"  # 2: no half of a formula, no emphasis
    sees_all = True

    def drafts(self, solved: list[Solved], **running: Any) -> Drafts:
        """A draft for each query; nothing is asked, so nothing is paid."""
        nothing = {"resumed": 0, "input_tokens": 0, "output_tokens": 0, "usd": 0.0, "usd_total": 0.0}
        return Drafts([_draft(item) for item in solved], nothing)


def _draft(solved: Solved) -> Draft:
    """The first answer's steps that pass the check."""
    reason = "no worked steps"
    for i, answer in enumerate(solved.answers):
        text = worked_steps(answer, solved)
        if text is None:
            continue
        text, why = check(text, "stop", solved)
        if why is None:
            return Draft(text, answer=i)
        reason = why
    return Draft(None, reason)


def worked_steps(answer: str, solved: Solved) -> str | None:
    """The sentences of an answer that show how it was reached, the result masked; None where there are none."""
    text = _BOLD.sub(r"\1", without_thinking(answer))
    if solved.metric == "code_eval" or _CODE.search(text):
        # Of an answer that is code, what it says about the code: its comments and the prose around it.
        comments = re.findall(r"^\s*#\s*(.+)$", text, re.M)
        text = "\n".join([_CODE_BLOCK.sub("\n", text), *comments])
        text = "\n".join(line for line in text.split("\n") if not _CODE_LINE.search(line))
    found = []
    for sentence in sentences(text):
        final = _FINAL.search(sentence)
        if final:
            stated = sentence[: final.start()].rstrip()
            sentence = _OPENED.sub("", stated).rstrip()
            sentence += " ?" if sentence != stated or _STATES.search(sentence) else ""
        sentence = mask(sentence, solved.ground_truth, solved.query, solved.metric, answer).strip(" \t,;:-–—*#")
        # One word, or nothing but the masked answer, teaches no step.
        if len(re.findall(r"\w+", sentence)) >= 2 and not _CHATTER.match(sentence) and sentence not in found:
            found.append(sentence)
    # The first sentence may be as long as a template; of the rest, those that fit.
    kept, words = [], 0
    for sentence in found[: MAX_SENTENCES - 2] + found[MAX_SENTENCES - 2 :][-2:]:
        words += len(sentence.split())
        if words <= MAX_WORDS:
            kept.append(sentence if sentence[-1] in ".!?" else f"{sentence}.")
    # A masked result may end a sentence in its middle.
    while len(sentences(" ".join(kept))) > MAX_SENTENCES:
        del kept[-2:-1]
    return " ".join(kept).replace("\\?", "?").replace("?.", "?") or None  # a currency's sign may stand before a result
