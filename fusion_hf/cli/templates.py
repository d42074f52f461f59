"""`fusion-hf templates`: thought templates from the best answers."""

from ._arguments import DEFAULT_ENCODER, ENCODER_HELP, OVERWRITE, names

HELP = "thought templates from the best answers"
EXAMPLE = "fusion-hf templates bench --model extractive --out templates"


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id, with responses")
    add("--model", default="extractive", help="LLM of --pool that summarises; without one: extractive (default), or "
        "worked (the right answers as they are, for few-shot prompts of any task)")  # fmt: skip
    add("--pool", help="pool file that names --model; and the sizes, for --small")
    add("--select", default="perf", choices=("perf", "judge", "hybrid"), help="which right answers (default: perf)")
    add("--top-k", type=int, default=3, help="best answers shown to the summariser (default: 3)")
    add("--threshold", type=float, default=0.5, help="an answer is right from this score on (default: 0.5)")
    add("--small", action="store_true", help="learn from the small LLMs of the pool only")
    add("--llms", type=names, metavar="NAME,…", help="learn from these LLMs only")
    add("--split", default="train", help="split to learn from (default: train)")
    add("--response-tokens", type=int, default=512, help="tokens shown of each answer, head and tail (default: 512)")
    add("--encoder", default=DEFAULT_ENCODER, help=ENCODER_HELP)
    add("--max-usd", type=float, help="stop before this much is spent; the same command goes on")
    add("--concurrency", type=int, help="requests at once (default: what the backend says)")
    add("--dry-run", action="store_true", help="print the price and ask nothing")
    add("--out", required=True, help="folder of the templates and their index; replies are kept in OUT.replies")
    add("--overwrite", action="store_true", help=OVERWRITE)
