"""Texts of templates: leaks of the reference answer, cuts by tokens, sentences, replies, what is extracted."""

import json

import pytest
from thought_toys import solved

from fusion_hf.thoughts.check import check, sentences
from fusion_hf.thoughts.cut import cut_middle, pieces, spans_of
from fusion_hf.thoughts.extract import worked_steps
from fusion_hf.thoughts.leak import leaks, mask

CHOICE = "What conducts?\n(A) wood\n(B) copper wire\n(C) a stone\nChoose the right option."


@pytest.mark.parametrize(
    ("text", "gold", "query", "leak"),
    [
        ("The answer is (B).", "(B)", CHOICE, True),
        ("answer: B", "B", CHOICE, True),
        ("Option B fits best.", "(B)", CHOICE, True),
        ("So (B), since (C) is wrong", "(B)", CHOICE, True),
        ("Take the copper wire.", "(B)", CHOICE, True),
        ("Metals conduct. Compare (A), (B) and (C).", "(B)", CHOICE, False),
        ("End with a letter, such as (B).", "(B)", CHOICE, False),
        ("A big answer is a thing", "(A)", CHOICE, False),
        ("Decide whether it is True or False.", "True", "", False),
        ("True claims need support.", "True", "", False),
        ("The statement is True.", "True", "", True),
        ("The answer is false", "False", "", True),
        ("Then 12 + 5 = 17", "17", "12 and 5", True),
        ("It costs $1,700.00 now", "1700", "", True),
        ("171 apples and 3.17", "17", "", False),
        ("There are 12 apples", "12", "12 apples", False),
        ("so 7 + 5 = 12", "12", "12 apples", True),
        ("Work in 2 steps.", "2", "", False),
        ("#### 2", "2", "", True),
        ("x = 2.5", "2", "", False),
        ("He was born in PARIS.", "paris", "", True),
        ("The parish register", "Paris", "", False),
        (r"It is \boxed{\frac{1}{4}}", r"\frac{1}{4}", "", True),
        (r"Not \frac{1}{2}", r"\frac{1}{4}", "", False),
        ("anything", "", "", False),
    ],
)
def test_leaks(text, gold, query, leak):
    metric = "em_mc" if query is CHOICE else ""
    assert bool(leaks(text, [gold], query, metric)) is leak
    # The law behind masking: what is masked leaks no more, and what did not leak is not touched.
    masked = mask(text, [gold], query, metric)
    assert not leaks(masked, [gold], query, metric)
    assert leak or masked == text


def test_code_leaks_by_its_lines():
    gold = json.dumps({"prompt": "", "setup": "", "tests": "assert f(1, 2) == 5", "entry_point": "f"})
    solution = "def f(a, b):\n    return a + b * 2"
    assert leaks("Use `return a + b * 2`.", [gold], "Write def f(a, b):", "code_eval", solution)
    assert not leaks("Return the weighted sum.", [gold], "Write def f(a, b):", "code_eval", solution)


# Summaries


def test_extractive_keeps_the_steps_and_masks_the_result():
    text = worked_steps("Tom has 70.\nHe gets 7 more, 70 + 7 = 77.\nSo the answer is 77.\n#### 77", solved([]))
    assert text == "Tom has 70. He gets 7 more, 70 + 7 = ?"
    assert worked_steps("#### 77", solved([])) is None
    assert worked_steps("(B)", solved([], "(B)", CHOICE, "em_mc")) is None


@pytest.mark.parametrize(
    ("answer", "steps"),
    [  # as chat models write: emphasis, and a formula that holds nothing but the result
        ("1. **Apples**: 70 + 7 = 77.\nThus, the number of apples is \\(\\boxed{77}\\).",
         "Apples: 70 + 7 = ? Thus, the number of apples is ?"),
        ("He adds 70 and 7.\nSo Tom has \\[ \\boxed{77} \\]", "He adds 70 and 7. So Tom has ?"),
        ("He adds $70 and $7.\nSo Tom has $\\boxed{77}$.", "He adds $70 and $7. So Tom has ?"),
        ("He adds \\$70 and \\$7 = \\$77.\n#### 77", "He adds \\$70 and \\$7 = ?"),
        ("2**3 is 8 and 4**2 is 16, so 77.", "2**3 is 8 and 4**2 is 16, so ?"),
    ],
)  # fmt: skip
def test_extractive_leaves_no_half_of_a_formula_or_emphasis(answer, steps):
    assert worked_steps(answer, solved([])) == steps


def test_extractive_is_cut_to_five_sentences():
    long = " ".join(f"Step {letter} is done." for letter in "klmnopqr")
    text = worked_steps(long, solved([]))
    assert text.count(".") == 5 and text.startswith("Step k") and text.endswith("Step r is done.")


def test_long_texts_are_cut_by_tokens_at_head_and_tail(tmp_path):
    from tiny_llm import make_tiny_llm
    from transformers import AutoTokenizer

    text = " ".join(f"w{i}" for i in range(100))
    assert cut_middle(text, 10).split() == [*(f"w{i}" for i in range(6)), "…", "w97", "w98", "w99"]
    assert cut_middle(text, 100) == text and cut_middle("def f():\n    return 1", 50) == "def f():\n    return 1"
    # Code is cut between its lines, whatever the tokens.
    code = "\n".join(f"    value_{i} = compute({i}, other[{i}])" for i in range(60))
    own = spans_of(AutoTokenizer.from_pretrained(make_tiny_llm(tmp_path / "llm")))
    for spans, sizes in ((pieces, (90, 150, 333)), (own, (333, 700))):
        for tokens in sizes:
            cut = cut_middle(code, tokens, spans)
            assert len(spans(cut.replace("…", ""))) <= tokens < len(spans(code))
            head, tail = cut.split("\n…\n")
            assert code.startswith(head + "\n") and code.endswith("\n" + tail)
    assert len(own("äöü €")) >= 4  # one token covers part of a letter: the spans still lie within the text
    assert "".join(cut_middle("€" * 50, 20, own).split()).strip("€") == "…"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Add both.", 1),
        ("Add both numbers", 1),
        ("1. Read it.\n2. Add both. Then check!\n- End with ####.", 4),
        ("Use e.g. a table, i.e. rows. Then add 3.5 to it.", 2),
        ('Say "stop." Then go on.', 2),
        ("**Task:** add.\n\n**Steps:** carry.", 2),
        ("...", 0),
    ],
)
def test_sentences_are_counted(text, count):
    assert len(sentences(text)) == count


@pytest.mark.parametrize(
    ("reply", "finish", "reason"),
    [
        ("Add both numbers.", "stop", None),
        ("<think>it is 77</think> Add both numbers.", "stop", None),
        (" \n", "stop", "empty"),
        ("<think>still at it", "length", "empty"),
        ("word " * 151, "stop", "too long"),
        ("Add. " * 6, "stop", "too many sentences"),
        ("Add both. Then they", "length", None),
        ("Add both and", "length", "cut off"),
        ("The sum is 77.", "stop", "leaks the answer"),
    ],
)
def test_replies_are_checked(reply, finish, reason):
    text, found = check(reply, finish, solved(["x"]))
    assert found == reason and (text is None) == (reason is not None)
    assert text in (None, "Add both numbers.", "Add both.")
