"""`fusion-hf push`: put a folder on the Hub, with its card."""

HELP = "put a folder on the Hub, with its card"
EXAMPLE = "fusion-hf push router user/my-router --private"


def arguments(add) -> None:
    add("path", help="folder of a FusionBench, router, templates or adapter")
    add("repo_id", help="repository on the Hub, such as user/name")
    add("--private", action="store_true")
    add("--message", help="commit message")


def run(args):
    from ..hub import push as push_folder

    print(push_folder(args.path, args.repo_id, private=args.private, message=args.message))
