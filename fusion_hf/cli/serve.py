"""`fusion-hf serve`: an OpenAI-compatible endpoint over a fused system or a router."""

HELP = "answer OpenAI clients: route every request, fall back, and log the traffic"
EXAMPLE = 'fusion-hf serve fused --log full --explore 0.02\n  curl http://127.0.0.1:8000/v1/chat/completions -d ' \
    '\'{"model": "auto", "messages": [{"role": "user", "content": "What is 7 * 8?"}]}\''  # fmt: skip


def arguments(add) -> None:
    add("system", help="folder or Hub id of a fused system (`autofuse`) or a router (`train-router`)")
    add("--pool", help="pool file: how the LLMs are reached; a fused system has its own")
    add("--host", default="127.0.0.1", help="address to listen on; an open one needs clients (default: %(default)s)")
    add("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    add("--scenario", help="trade-off of requests that name none, for a router (default: performance)")
    add("--log", choices=("full", "metadata", "none"), default="metadata",
        help="what the log keeps: full with the texts, metadata without, none (default: %(default)s)")  # fmt: skip
    add("--out", default="served", help="folder of the log (default: %(default)s)")
    add("--clients", help="YAML file of clients with their keys and USD a day; else FUSION_HF_SERVE_KEYS is read")
    add("--explore", type=float, default=0.0, help="share of requests that a random affordable candidate answers")
    add("--keys", action="append", metavar="VARIABLE=HOST",
        help="a key that the system's own pool may have sent, and where to; repeat for more")  # fmt: skip
    add("--timeout", type=float, help="seconds for an answer that is not streamed (default: the LLM's own)")
    add("--first-token-timeout", type=float, default=60.0, help="seconds to a stream's first token (default: 60)")
    add("--stall-timeout", type=float, default=60.0, help="seconds between two chunks of a stream (default: 60)")
    add("--drain", type=float, default=60.0, help="seconds that requests in flight get at the end (default: 60)")
