"""`fusion-hf add-llm`: a new candidate from a few scored queries, without training again."""

HELP = "let a router choose one more LLM, from 20 to 50 scored queries"
EXAMPLE = "fusion-hf add-llm router bench --llm qwen2.5-7b-instruct --out router-with-qwen"


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("bench", help="FusionBench folder or Hub id that holds scored answers of the new LLM")
    add("--llm", required=True, help="name of the LLM; both of its modes are added where the log has them")
    add("--split", default="train")
    add("--out", required=True, help="folder of the new router")


def run(args):
    from ..logs.arrays import COLUMNS, RoutingData
    from ..logs.log import Log, read_log
    from ..routers import load_router
    from ..routers.add_llm import add_llm

    data = RoutingData.from_table(read_log(args.bench, args.split, columns=COLUMNS))
    pool = Log(args.bench).extra("llms")
    router = load_router(args.router)
    before = len(router.candidates)
    add_llm(router, data, args.llm, None if pool is None else pool.to_pylist())
    router.save_pretrained(args.out)
    print(f"{', '.join(router.candidates[before:])} joined {before} candidates: {args.out}")
