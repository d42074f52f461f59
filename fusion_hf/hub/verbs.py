"""`fusion_hf.push`: the function of the command that puts a folder on the Hub."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

from ..results import Result, jsonable
from .upload import check_target, planned
from .upload import push as push_folder


@dataclass
class Pushed(Result):
    """What was pushed, or would be.

    Attributes:
        repo_id: As it was given.
        url: Of the commit or pull request; None of a dry run.
        plan: Of a dry run: ``kind``, ``repo_type``, ``files`` (path, mb), ``mb``, ``links`` (left out).
    """

    repo_id: str
    url: str | None
    plan: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """``repo_id``, ``url`` and, of a dry run, the plan."""
        return {"repo_id": self.repo_id, "url": self.url, **jsonable(self.plan or {})}

    def __str__(self) -> str:
        if self.plan is None:
            return str(self.url)
        p = self.plan
        lines = [f"{p['kind']} -> {p['repo_type']} {self.repo_id}: {len(p['files'])} files, {p['mb']:.3g} MB"]
        lines += [f"  {file['mb']:10.3f} MB  {file['path']}" for file in p["files"]]
        return "\n".join([*lines, *(f"  not pushed, a link: {link}" for link in p["links"])])


def push(
    path: str | PathLike[str],
    repo_id: str,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    pull_request: bool = False,
    base_model: str | None = None,
    allow_token_like: bool = False,
    dry_run: bool = False,
    token: str | bool | None = None,
) -> Pushed:
    """Put a folder on the Hub, with its card, and see that all of it arrived; the same call goes on where it was cut.

    Args:
        path: Folder of a FusionBench, training data, router, templates, adapter, fused system or metric.
        repo_id: Such as ``user/name``; it is made if need be.
        private: A new repository is private; None leaves it to the Hub.
        revision: Branch to push to, made if need be; or ``refs/pr/N``, an open pull request.
        message: Commit message.
        pull_request: Open a pull request instead of writing to main.
        base_model: Hub id of an adapter's base model, if it was trained on a local folder.
        allow_token_like: Push texts that look like access tokens too; your own keys are never pushed.
        dry_run: Only list what would be pushed.
        token: As everywhere in the ecosystem; None takes ``HF_TOKEN`` or what  hf auth login  stored.

    Raises:
        UserError: The folder or the id is not one that can be pushed, or the Hub refused, with its reason in one line.
    """
    if dry_run:
        check_target(path, repo_id, revision, pull_request)
        return Pushed(repo_id, None, planned(path))
    return Pushed(repo_id, push_folder(
        path, repo_id, private=private, message=message, revision=revision, pull_request=pull_request, token=token,
        base_model=base_model, allow_token_like=allow_token_like,
    ))  # fmt: skip
