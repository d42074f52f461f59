"""`fusion-hf think`: answer with retrieved templates."""

from . import call
from ._arguments import add_queries, read_queries

HELP = "answer with retrieved templates"
EXAMPLE = 'fusion-hf think templates "What is 7 * 8?" --model MODEL --show-prompt'
ONLY_COMMAND, ONLY_PYTHON = ("query", "file"), ("queries",)


def arguments(add) -> None:
    add("templates", help="folder of `templates` or Hub id")
    add_queries(add)
    add("--model", required=True, help="a model folder or Hub id, or an LLM of --pool")
    add("--pool", help="pool file that names --model")
    add("-k", type=int, default=3, help="templates before the query (default: %(default)s)")
    add("--style", default="thought", choices=("zero-shot", "few-shot", "thought"),
        help="templates, answers, or nothing before the query (default: %(default)s)")  # fmt: skip
    add("--max-tokens", type=int, default=256, help="of an answer (default: %(default)s)")
    add("--prompts", help="JSON file with other wording (see fusion_hf.thoughts.PROMPTS)")
    add("--min-similarity", type=float, default=0.0, help="no template below this cosine (default: 0)")
    add("--diversity", type=float, default=0.0, help="0 to 1: how much likeness to other templates counts against one")
    add("--filter-tasks", action="store_true", help="only templates of the task that the query seems to belong to")
    add("--max-usd", type=float, help="what the answers may cost; needed for an LLM that is not free of charge")
    add("--show-prompt", action="store_true", help="print the prompt too")


def run(args):
    return call(args, queries=read_queries(args))
