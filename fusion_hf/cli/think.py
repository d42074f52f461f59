"""`fusion-hf think`: answer with retrieved templates."""

from . import read_queries

HELP = "answer with retrieved templates"
EXAMPLE = 'fusion-hf think templates "What is 7 * 8?" --model MODEL --show-prompt'


def arguments(add) -> None:
    add("templates", help="folder of `templates` or Hub id")
    add("query", nargs="*", help="queries; none reads standard input, a query a line")
    add("--model", required=True, help="a model folder or Hub id, or an LLM of --pool")
    add("--pool", help="pool file that names --model")
    add("-k", type=int, default=3, help="templates before the query (default: 3)")
    add("--style", default="thought", choices=("zero-shot", "few-shot", "thought"))
    add("--max-tokens", type=int, default=256)
    add("--prompts", help="JSON file with other wording (see fusion_hf.thoughts.PROMPTS)")
    add("--min-similarity", type=float, default=0.0, help="no template below this cosine (default: 0)")
    add("--diversity", type=float, default=0.0, help="0 to 1: how much likeness to other templates counts against one")
    add("--filter-tasks", action="store_true", help="only templates of the task that the query seems to belong to")
    add("--max-usd", type=float, help="what the answers may cost; needed for an LLM that is not free of charge")
    add("--show-prompt", action="store_true", help="print the prompt too")


def run(args):
    from ..thoughts.answer import think_with

    replies = think_with(
        args.templates, read_queries(args), args.model, pool=args.pool, k=args.k, style=args.style,
        max_tokens=args.max_tokens, prompts=args.prompts, min_similarity=args.min_similarity,
        diversity=args.diversity, filter_tasks=args.filter_tasks, max_usd=args.max_usd,
    )  # fmt: skip
    for reply in replies:
        if args.show_prompt:
            print(reply.prompt, end="\n---\n")
        print(reply.text)
