"""`fusion-hf push`: put a folder on the Hub, with its card."""

import argparse

HELP = "put a folder on the Hub, with its card; the same command goes on after an interruption"
EXAMPLE = "fusion-hf push router user/my-router --private"
ONLY_PYTHON = ("token",)  # a token on a command line is read by everybody on the machine


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
