"""Reasoning is taken apart from the answer, whichever form a model writes it in."""

import time

import pytest

from fusion_hf.reasoning import split_reasoning

FORMS = {
    "<think>5?</think>7": "DeepSeek-R1, Qwen, Kimi, GLM, Hunyuan",
    "5?</think>7": "the template wrote the opening tag",
    "<thinking>5?</thinking>7": "prompted models",
    "<THINK>5?</THINK>7": "case",
    "<think effort='high'>5?</think >7": "attributes and blanks",
    "<think>5?</thinking>7": "two names",
    "&lt;think&gt;5?&lt;/think&gt;7": "escaped",
    "＜think＞5?＜/think＞7": "full-width",
    "<thought>5?</thought>7": "EXAONE Deep",
    "<reasoning>5?</reasoning>7": "prompted models",
    "<scratchpad>5?</scratchpad>7": "prompted models",
    "<seed:think>5?</seed:think>7": "Seed-OSS",
    "<longcat_think>5?</longcat_think>7": "LongCat",
    "<think_fast>5?</think_fast>7": "K2",
    "[THINK]5?[/THINK]7": "Magistral",
    "5?[/THINK]7": "Magistral, opened by the template",
    "◁think▷5?◁/think▷7": "Kimi-VL",
    "<|START_THINKING|>5?<|END_THINKING|><|START_RESPONSE|>7<|END_RESPONSE|>": "Cohere",
    "<|begin_of_thought|>5?<|end_of_thought|><|begin_of_solution|>7<|end_of_solution|>": "OpenThinker",
    "<｜begin▁of▁thinking｜>5?<｜end▁of▁thinking｜>7": "full-width bars",
    "<|inner_prefix|>5?<|inner_suffix|>7": "Apertus",
    "<|think|>5?<|end|><|begin|>assistant<|content|>7": "Solar",
    "<|channel|>analysis<|message|>5?<|end|><|start|>assistant<|channel|>final<|message|>7<|return|>": "gpt-oss",
    "5?<|end|><|start|>assistant<|channel|>final<|message|>7<|return|>": "gpt-oss, opened by the template",
    "<|channel|>analysis<|message|>5?<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>7": "format",
    "<|channel|>analysis<|message|>5?<|channel|>final<|message|>7": "gpt-oss without its end",
    "analysis5?assistantfinal7": "gpt-oss, special tokens dropped",
    "<|channel>thought\n5?\n<channel|>7": "Gemma 4",
    "<unused94>thought\n5?<unused95>7": "MedGemma",
    "Here is my thought process: 5? Here is my response:7": "Granite",
    "Thinking...\n5?\n...done thinking.7": "Ollama's terminal",
    '<details type="reasoning" done="true">5?</details>7': "Open WebUI",
}


@pytest.mark.parametrize("text", FORMS, ids=FORMS.values())
def test_every_form(text):
    assert split_reasoning(text) == ("7", "5?")


@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        ("7", "7", None),
        ("", "", None),
        ("<think></think>7", "7", None),
        ("<think>\n\n</think>\n\n7", "\n\n7", None),
        ("</think>7", "7", None),
        # Blanks are a body's indent.
        ("<think>add</think>\n    return x", "\n    return x", "add"),
        ("<think>The answer is 5", "", "The answer is 5"),
        ("[THINK]The answer is 5", "", "The answer is 5"),
        ("<|channel|>analysis<|message|>The answer is 5", "", "The answer is 5"),
        ("<|channel>thought\nThe answer is 5", "", "The answer is 5"),
        ("The answer is 7. <think>Or is it", "The answer is 7. ", "Or is it"),
        ("<think>a<think>b</think>c</think>7", "7", "a<think>b\n\nc"),
        ("<think>a</think>4 is <think>b</think>7", "4 is 7", "a\n\nb"),
        ("<think>a</think>7\n</think>", "7\n", "a"),
        ("<think>he wrote '<think>' once</think>7", "7", "he wrote '<think>' once"),
        ("<|channel|>commentary to=functions.f<|message|>{}<|call|>", "", "{}"),
        (
            "<|channel|>final<|message|>7<|end|><|start|>user<|message|>And 2+2?<|end|><|start|>assistant"
            "<|channel|>final<|message|>4",
            "7",
            None,
        ),
        ("<reasoning>a</reasoning><answer>7</answer>", "<answer>7</answer>", "a"),
    ],
)
def test_cases(text, answer, reasoning):
    assert split_reasoning(text) == (answer, reasoning)


@pytest.mark.parametrize(
    "text",
    [
        "Wrap it in `<think>` and `</think>` tags.",
        'The text "</think>" ends it.',
        "I cannot use <think> tags. 7",
        'def f(x):\n    return re.sub("<think>.*?</think>", "", x)',
        '```python\ndef f(x):\n    return re.sub(r"(?s)<think>.*?</think>", "", x)\n```',
        "analysis: I think it is 7",
        "I think, therefore it is 7.",
        "thought\n7",
        "if a<think and b>2: 7",
    ],
)
def test_a_tag_that_is_only_mentioned_stays(text):
    assert split_reasoning(text) == (text, None)


def test_an_answer_has_no_more_reasoning():
    for text in FORMS:
        answer, _ = split_reasoning(text)
        assert split_reasoning(answer) == (answer, None)


@pytest.mark.parametrize(
    "unit",
    ["<think>", "</think>", "<think></think>", "`<think>", "```<think>", "<think ", "<|channel|>final<|message|>",
     "[think]", "</think>" + " " * 1000, "<|start|>user<|message|>",
     "<details type=reasoning", "<<<", "a_think", "x", " "],
)  # fmt: skip
def test_a_megabyte_takes_no_endless_time(unit):
    start = time.process_time()
    for text in (unit * (1_000_000 // len(unit)), "analysis think" + unit * (1_000_000 // len(unit))):
        split_reasoning(text)
    assert time.process_time() - start < 3
