"""`fusion-hf audit`: what is wrong, or looks wrong, in a log."""

HELP = "find leaks, doubles, unread answers, wrong golds, truncation, and counts and costs that cannot be real in a log"
EXAMPLE = "fusion-hf audit bench --json audit.json"
FIGURES = True


def arguments(add) -> None:
    add("log", help="FusionBench folder or Hub id, shards of `collect`, a .parquet or a .jsonl file")
    add("--regrade", type=int, default=200, metavar="N",
        help="grade N responses a task and split again; 0 grades none, -1 all (default: %(default)s)")  # fmt: skip
    add("--near", type=float, default=0.8, help="similarity of near-duplicate queries, 0..1 (default: %(default)s)")
    add("--strict", action="store_true", help="exit with code 1 where a finding is an error")


def run(args):
    from ..logs.audit import audit

    result = audit(args.log, regrade=None if args.regrade < 0 else args.regrade, near=args.near)
    for finding in result["findings"]:
        print(f"{finding['severity']:8}{finding['kind']}: {finding['message']}\n{'':8}-> {finding['advice']}")
        if finding["examples"]:
            print(f"{'':8}   query ids: {', '.join(finding['examples'])}")
    for check, reason in result["skipped"].items():
        print(f"skipped {check}: {reason}")
    counts = ", ".join(f"{n} {severity}" for severity, n in result["by_severity"].items())
    print(f"{result['read']} rows; findings: {counts}")
    if args.strict and result["by_severity"]["error"]:
        result["exit_code"] = 1
    return result
