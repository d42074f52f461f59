"""`fusion-hf push`: put a folder on the Hub, with its card."""

import argparse

HELP = "put a folder on the Hub, with its card; the same command goes on after an interruption"
EXAMPLE = "fusion-hf push router user/my-router --private"


def arguments(add) -> None:
    add("path", help="folder of a FusionBench, training data, router, templates, adapter, fused system or metric")
    add("repo_id", help="repository on the Hub, such as user/name; it is made if need be")
    add("--private", action=argparse.BooleanOptionalAction, help="a new repository is private (default: the Hub's)")
    add("--revision", help="branch to push to, made if need be; or refs/pr/N, an open pull request (default: main)")
    add("--message", help="commit message")
    add("--pull-request", action="store_true", help="open a pull request instead of writing to main")
    add("--base-model", metavar="ID", help="Hub id of an adapter's base model, if it was trained on a local folder")
    add("--allow-token-like", action="store_true",
        help="push texts that look like access tokens too; your own keys are never pushed")  # fmt: skip
    add("--dry-run", action="store_true", help="list what would be pushed, and push nothing")


def run(args):
    from ..hub import planned
    from ..hub import push as push_folder

    if not args.dry_run:
        print(
            push_folder(
                args.path, args.repo_id, private=args.private, message=args.message, revision=args.revision,
                pull_request=args.pull_request, base_model=args.base_model,
                allow_token_like=args.allow_token_like,
            )
        )  # fmt: skip
        return
    plan = planned(args.path)
    print(f"{plan['kind']} -> {plan['repo_type']} {args.repo_id}: {len(plan['files'])} files, {plan['mb']:.3g} MB")
    for file in plan["files"]:
        print(f"  {file['mb']:10.3f} MB  {file['path']}")
    for link in plan["links"]:
        print(f"  not pushed, a link: {link}")
