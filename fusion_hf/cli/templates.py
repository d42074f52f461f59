"""`fusion-hf templates`: thought templates from the best answers."""

from . import DEFAULT_ENCODER, ENCODER_HELP, print_json

HELP = "thought templates from the best answers"
EXAMPLE = "fusion-hf templates bench --model extractive --out templates"
FIGURES = True


def arguments(add) -> None:
    add("bench", help="FusionBench folder or Hub id, with responses")
    add("--model", default="extractive", help="LLM of --pool that summarises, or extractive (default)")
    add("--pool", help="pool file that names --model")
    add("--select", default="perf", choices=("perf", "judge", "hybrid"))
    add("--top-k", type=int, default=3, help="best answers shown to the summariser (default: 3)")
    add("--encoder", default=DEFAULT_ENCODER, help=ENCODER_HELP)
    add("--out", required=True, help="folder of the templates and their index")


def run(args):
    from ..thoughts.templates import build_templates

    result = build_templates(
        args.bench, args.out, model=args.model, pool=args.pool, select=args.select, top_k=args.top_k,
        encoder=args.encoder,
    )  # fmt: skip
    print_json(result)
    return result
