"""What the contract of each group of plug-ins is run on, a line a plug-in: a new one needs its line here.

One from outside the package gets its line from who tests it (see `contract_outside`), and keeps the same contract.
"""

import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from loopback_llm import Act, LoopbackLLM
from tgi_double import TGI

from fusion_hf.llms.pool import LLM

CHOICES = {"text": ["ant", "bee", "cow"], "label": ["1", "2", "3"]}
TASKS: dict[str, dict] = {
    "gsm8k": {"question": "How many?", "answer": "2 + 2 = 4\n#### 4"},
    "math": {"problem": "Half of 1?", "solution": "It is $\\boxed{\\frac{1}{2}}$."},
    "mbpp": {"text": "Double it.", "test_list": ["assert f(2) == 4"], "test_setup_code": "", "task_id": 601},
    "human_eval": {
        "task_id": "HumanEval/0",
        "prompt": 'def f(x):\n    """Double x."""\n',
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
        "entry_point": "f",
    },
    "arc_challenge": {"question": "Which?", "choices": CHOICES, "answerKey": "2"},
    "commonsense_qa": {"question": "Which?", "choices": CHOICES, "answerKey": "2"},
    "openbook_qa": {"question_stem": "Which?", "choices": CHOICES, "answerKey": "2"},
    "boolq": {"passage": "Bees fly.", "question": "do bees fly", "answer": True},
    "gpqa": {"Question": "Which?", "Correct Answer": "bee"} | {f"Incorrect Answer {i}": f"no {i}" for i in (1, 2, 3)},
    "hellaswag": {"ctx": "A bee", "endings": ["swims", "flies", "drives", "reads"], "label": "1", "ind": 3},
    "mmlu": {"question": "Which?", "choices": ["ant", "bee", "cow", "dog"], "answer": 1},
    "natural_qa": {"question": "who makes honey", "golden_answers": ["the bee", "bees"]},
    "trivia_qa": {"question": "Who makes honey?", "answer": {"normalized_aliases": ["bee", "honey bee"]}},
    "squad": {"context": "Bees make honey.", "question": "Who makes honey?", "answers": {"text": ["Bees", "Bees"]}},
}
"""Task -> a row of its source."""
RIGHT = {
    "mbpp": "[BEGIN]\ndef f(x):\n    return 2 * x\n[DONE]",
    "human_eval": "[BEGIN]\n    return 2 * x\n[DONE]",
    "gsm8k": "2 + 2 = 4\n#### 4",
    "math": "So it is \\boxed{\\frac{1}{2}}.",
}
"""Task -> an answer to its row that is plainly right, where "The answer is <reference answer>." does not do."""
WRONG = {
    "mbpp": "[BEGIN]\ndef f(x):\n    return x\n[DONE]",
    "human_eval": "[BEGIN]\n    return x\n[DONE]",
    "boolq": "False",
}

_CODE = {"prompt": "", "setup": "", "tests": ["assert f(1) == 2"], "entry_point": ""}
GRADERS: dict[str, tuple[str, list[str], str]] = {
    "gsm8k": ("#### 18", ["18"], "How many?"),
    "math": ("\\boxed{3}", ["3"], "How many?"),
    "em_mc": ("The answer is (A).", ["(A)"], "Q\n(A) x\n(B) y"),
    "cem": ("The answer is Paris.", ["Paris", "the city of Paris"], "Where?"),
    "exact_match": ("Paris", ["Paris"], "Where?"),
    "code_eval": ("[BEGIN]\ndef f(x): return x + 1\n[DONE]", [json.dumps(_CODE)], "Add one."),
}
"""Grader -> (a response that is right, reference answers, query)."""


def _text(name: str, *rows: dict | str) -> Callable[[Path], None]:
    """Writes a file of JSON lines, or a JSON list where its name ends in .json, or a text as it stands."""

    def write(folder: Path) -> None:
        if isinstance(rows[0], str):
            text = rows[0]
        else:
            text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name).write_text(text, encoding="utf-8")

    return write


def _fusionbench(folder: Path) -> None:
    from test_importers_public import published_rows, write_csv

    write_csv(published_rows(), folder / "router_data_test.csv")


def _routerbench(folder: Path) -> None:
    columns = {"sample_id": ["s.0", "s.1"], "prompt": ["['2 + 2?']", "['3 + 3?']"], "ant": [1.0, 0.0],
               "ant|model_response": ["['4']", "['5']"], "ant|total_cost": [0.5, 0.25]}  # fmt: skip
    pd.DataFrame(columns).to_csv(folder / "sums_train.csv", index=False)


_CHAT = [{"role": "user", "content": "2 + 2?"}]
_REPLY = {"model": "ant-1", "choices": [{"message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}]}
LOGS: dict[str, Callable[[Path], None]] = {
    "fusionbench": _fusionbench,
    "routerbench": _routerbench,
    "routerdc": _text("sums-train.json", {"question": "2 + 2?", "scores": {"ant": 1.0, "bee": 0.0}}),
    "llmrouter": _text("sums_train.json", {"question": "2 + 2?", "scores": {"ant": 1.0, "bee": 0.0}}),
    "routellm": _text("sums.csv", "prompt,ant,bee,ant_response,bee_response\n2 + 2?,True,False,4,5\n"),
    "alpaca-eval": _text("ant.json", {
        "instruction": "Write.", "output_2": "So.", "generator_2": "ant", "annotator": "judge-1", "preference": 1.25,
    }),
    "gsm8k-solutions": _text("example_model_solutions.jsonl", {
        "question": "2 + 2?", "ground_truth": "A: 4", "ant": {"is_correct": True, "solution": "#### 4"},
    }),
    "llmrouterbench": lambda folder: (folder / "sums-test-ant-20250101_000000.json").write_text(json.dumps({
        "dataset_name": "sums", "split": "test", "model_name": "ant", "demo": False, "records": [{
            "index": 1, "origin_query": "2 + 2?", "prompt": "2 + 2?", "prediction": "4", "ground_truth": "4",
            "score": 1.0, "prompt_tokens": 5, "completion_tokens": 1, "cost": 1e-4, "raw_output": "4",
        }],
    })),
    "jsonl": _text("log.jsonl", {"query": "2 + 2?", "llm": "ant", "response": "4", "score": 1, "task": "sums"}),
    "csv": _text("log.csv", "query,llm,response,score,task\n2 + 2?,ant,4,1,sums\n"),
    "openai-log": _text("log.jsonl", {"request": {"model": "ant", "messages": _CHAT}, "response": _REPLY}),
    "litellm": _text("spend.jsonl", {
        "call_type": "acompletion", "spend": 0.002, "model": "vendor/ant", "model_group": "ant", "status": "success",
        "messages": _CHAT, "response": _REPLY,
    }),
    "langfuse": _text("observations.jsonl", {
        "id": "o1", "traceId": "t1", "type": "GENERATION", "model": "ant", "input": {"messages": _CHAT},
        "output": {"role": "assistant", "content": "4"},
    }),
}  # fmt: skip
"""Format -> what writes a small log of it into an empty folder; everything it writes is text."""

TOO_LONG = '{"error": {"code": "context_length_exceeded", "message": "the prompt is too long"}}'


@contextmanager
def _near(tiny: Path):
    yield LLM("near", "small", 0, 0, backend="transformers", model=str(tiny), options={"max_tokens": 8})


def _behave(prompt: str, times: int) -> Act:
    return Act(status=400, body=TOO_LONG) if len(prompt) > 1000 else Act(text=f"I read {prompt}")


def _loopback(backend: str):
    @contextmanager
    def chatting(tiny: Path):
        with LoopbackLLM(_behave) as server:
            yield LLM("far", "small", 0, 0, backend=backend, base_url=server.url, options={"max_tokens": 8})

    return chatting


def _tgi(backend: str, path: str, **options):
    @contextmanager
    def chatting(tiny: Path):
        with TGI() as server:
            url = server.url + path
            yield LLM("tgi", "small", 0, 0, backend=backend, base_url=url, options={"max_tokens": 8} | options)

    return chatting


LLMS: dict[str, Callable] = {
    "transformers": _near,
    "openai": _loopback("openai"),
    "inference_client": _loopback("inference_client"),
    "openai:tgi": _tgi("openai", "/v1"),
    "inference_client:tgi": _tgi("inference_client", ""),
    "inference_client:text_generation": _tgi("inference_client", "", api="text_generation"),
}
"""Backend, and : with which other server -> context of an LLM behind it, given a tiny model's folder. It answers
different prompts differently in at most 8 tokens, and refuses one of 2000 letters as too long."""
LATER = {"vllm": "vLLM keeps the contract in test_vllm.py: it takes a minute to start"}

BLIND = {
    "random": "it draws",
    "cheapest": "it takes the same candidate for every query",
    "best-single": "it takes the same candidate for every query",
    "oracle": "it knows queries of the log only",
}
"""Router kinds that cannot learn which candidate suits a query, and why."""
WINNER = {"random", "cheapest", "paper-knn", "paper-mlp", "paper-svm"}  # kinds that vote in place of predicting scores
FIXED = {"paper-knn", "paper-mlp", "paper-svm"}  # of these, the ones that know fixed trade-offs only
TRAINS_ENCODER = {"encoder"}
NEEDS_LABELS = {"best-per-task"}  # without task names these know one task
AVERAGE_COST = {*BLIND, *WINNER, "best-per-task"}  # these know what a candidate costs only on average
QUICK = {
    "mlp": {"steps": 120}, "mf": {"steps": 150}, "irt": {"steps": 150}, "graph": {"steps": 80}, "dc": {"steps": 120},
    "paper-mlp": {"steps": 200, "rate": 0.01}, "encoder": {"epochs": 1},
}  # fmt: skip
"""Router kind -> options with which it learns the small log of the contract in a moment."""
