"""`fusion-hf remove-llm`: take an LLM away from a router."""

HELP = "take an LLM away from a router, without training again"
EXAMPLE = "fusion-hf remove-llm router --llm qwen2.5-7b-instruct --out router-without-qwen"


def arguments(add) -> None:
    add("router", help="router folder or Hub id")
    add("--llm", required=True, help="name of the LLM; both of its modes are taken away")
    add("--out", required=True, help="folder of the new router")


def run(args):
    from ..routers import load_router
    from ..routers.add_llm import remove_llm

    router = remove_llm(load_router(args.router), args.llm)
    router.save_pretrained(args.out)
    print(f"{len(router.candidates)} candidates are left: {args.out}")
