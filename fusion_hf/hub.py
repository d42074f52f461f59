"""Cards of what was made, and pushing it: the only file that writes to the Hub."""

import json
from pathlib import Path

from .cards import render_card
from .distill.report import REPORT, write_adapter_card
from .errors import UserError

# What tells the kind of a folder, the first that fits: (file in it, kind, repository type on the Hub).
MARKS = (
    ("adapter_config.json", "adapter", "model"),
    ("data", "dataset", "dataset"),
    ("config.json", "model", "model"),
    # Last, because a model may be saved together with its index.
    ("thought_templates/index_config.json", "templates", "dataset"),
)


def kind_of(path: str | Path) -> tuple[str, str]:
    """(kind, Hub repository type) of a folder that fusion_hf wrote."""
    path = Path(path)
    if not path.is_dir():
        raise UserError(
            f"{path}: expected a folder of a FusionBench, router, templates or adapter, found nothing there"
        )
    config = path / "config.json"
    if config.is_file() and "candidates" in json.loads(config.read_text(encoding="utf-8")):
        return "router", "model"
    for mark, kind, repo_type in MARKS:
        if (path / mark).exists():
            return kind, repo_type
    raise UserError(f"{path}: expected a FusionBench, router, templates or adapter, found {_some_files(path)}")


def _some_files(path: Path) -> str:
    return ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "an empty folder"


def write_router_card(folder: str | Path, repo_id: str, evaluation: dict | None = None) -> None:
    """README.md of a router, from its own configuration and, where given, the result of `eval-router`."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    kind = config["model_type"].removeprefix("fusion_hf-")
    header = {
        "library_name": "fusion_hf",
        "tags": ["fusion_hf", "llm-routing"],
        "license": "apache-2.0",
        "pipeline_tag": "text-classification",
    }
    text = render_card(
        "router",
        header,
        title=f"{kind} router",
        kind=kind,
        repo_id=repo_id,
        candidates=config["candidates"],
        scenarios=list(config["scenarios"]),
        encoder=config["encoder_name"],
        queries=config["trained_on"],
        tasks=config["tasks"] or [],
        evaluation=evaluation,
    )
    (Path(folder) / "README.md").write_text(text, encoding="utf-8")


def push(path: str | Path, repo_id: str, private: bool = False, message: str | None = None) -> str:
    """Create the repository if need be, upload the folder in one commit, and return its URL.

    A router without a card gets one, and what the SFT script trained gets its own.

    Raises `UserError` with the Hub's reason when it refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    kind, repo_type = kind_of(path)
    if kind == "router" and not (Path(path) / "README.md").exists():
        write_router_card(path, repo_id)
    if (Path(path) / REPORT).exists():
        write_adapter_card(path)
    api = HfApi()
    try:
        api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, repo_type=repo_type, folder_path=str(path),
            commit_message=message or f"Upload {kind} with fusion_hf",
        )  # fmt: skip
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{repo_id}: nothing was pushed, the Hub refused: {reason}") from error
    return str(commit.commit_url)
