"""Pushing a folder: one command that goes on where it was cut, and calls done only what the Hub really holds."""

import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import UserError, hub_reason
from .kinds import kind_of
from .staging import files_of, stage

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

T = TypeVar("T")

# Seconds before huggingface_hub's single attempts are made again; what it repeats by itself is not repeated here.
WAITS = (1.0, 2.0, 4.0)
LONGEST_WAIT = 300.0  # seconds that a Retry-After may ask for
PASSING = (408, 429, 500, 502, 503, 504)
EXISTS_PUBLIC = "it exists and is public: make it private on the Hub, or push without private"
WHILE_PUSHING = (
    "all of it was pushed, but somebody made the repository public meanwhile: whoever saw it may have a copy; make it "
    "private on the Hub, or remove it there"
)
# Files of a kind that the folder no longer holds, and that would still be read: they go from the repository too.
STALE = {
    "dataset": ["data/*.parquet", "llms/*.parquet", "tasks/*.parquet"],
    "fused": ["routers/*", "templates/*", "adapters/*"],
}


def planned(path: str | PathLike[str]) -> dict:
    """What `push` would send: ``kind``, ``repo_type``, ``files`` (path, mb), ``mb``, ``links`` (left out)."""
    kind, repo_type = kind_of(path)
    names, links = files_of(Path(path))
    sizes = [(Path(path) / name).stat().st_size / 1e6 for name in names]
    files = [{"path": name, "mb": size} for name, size in zip(names, sizes, strict=True)]
    return {"kind": kind, "repo_type": repo_type, "files": files, "mb": sum(sizes), "links": links}


def push(
    path: str | PathLike[str],
    repo_id: str,
    private: bool | None = None,
    message: str | None = None,
    revision: str | None = None,
    pull_request: bool = False,
    token: str | bool | None = None,
    base_model: str | None = None,
    allow_token_like: bool = False,
) -> str:
    """Push a folder with its card, see that all of it arrived, and return the URL of the commit or pull request.

    The repository, and the branch `revision`, are made if need be. After an interruption the same call goes on: files
    that the Hub has are not sent again. The folder is not changed: the card that is pushed names the repository.

    Arguments are those of `fusion_hf.push`.

    Raises:
        UserError: The folder cannot be pushed as it is (see `stage`), or the Hub refused, with its reason in one line.
    """
    from huggingface_hub import HfApi, get_token

    kind, repo_type = check_target(path, repo_id, revision, pull_request)
    api = HfApi(token=token)
    if "/" not in repo_id:
        repo_id = f"{_asked(api.whoami, repo_id, 'nothing was pushed')['name']}/{repo_id}"
    with tempfile.TemporaryDirectory(prefix="fusion_hf-push-") as folder:
        # What is wrong with the folder is found before the Hub is asked for anything.
        own = token if isinstance(token, str) else get_token()
        stage(Path(path).resolve(), Path(folder), kind, repo_type, repo_id, base_model, own, allow_token_like)
        _asked(lambda: _make(api, repo_id, repo_type, private, revision), repo_id, "nothing was pushed")
        again = "not all of it was pushed (the same command goes on, and sends nothing twice)"
        if pull_request:
            again = "no pull request is known of (look at the repository's before you push again)"
        commit = _asked(
            lambda: _upload(api, folder, repo_id, repo_type, kind, message, revision, pull_request), repo_id, again
        )
        unsure = "pushed, but not verified"
        _asked(lambda: _verify(api, Path(folder), repo_id, repo_type, commit), repo_id, unsure)
        if private:
            _asked(lambda: _see_that_it_is_private(api, repo_id, repo_type, WHILE_PUSHING), repo_id, unsure)
    return str(commit.pr_url or commit.commit_url)


def check_target(
    path: str | PathLike[str], repo_id: str, revision: str | None = None, pull_request: bool = False
) -> tuple[str, str]:
    """What `kind_of` says of the folder, if it can be pushed under that name; the Hub is not asked."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    kind, repo_type = kind_of(path)
    if pull_request and revision is not None:
        raise UserError("a pull request is always opened against main: expected revision or pull_request, found both")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"{repo_id!r}: expected a Hub id such as user/name: {str(error).splitlines()[0]}") from None
    name = Path(path).resolve().name
    if kind == "metric" and repo_id.rpartition("/")[2] != name:
        raise UserError(
            f"{repo_id}: expected a repository called {name}, because evaluate looks for a file of its name"
        )
    return kind, repo_type


def _asked(call: Callable[[], T], repo_id: str, state: str) -> T:
    """`call`, with what the Hub refuses in one line."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return call()
    except UserError:
        raise
    except (HfHubHTTPError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{repo_id}: {state}, the Hub refused: {hub_reason(error)}") from error
    except (LookupError, TypeError, AttributeError) as error:  # huggingface_hub reads an answer as if it were right
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{repo_id}: {state}: the Hub answered in another form than expected ({found:.200})") from error
    except Exception as error:
        if not _lost(error):
            raise
        raise UserError(f"{repo_id}: {state}: {hub_reason(error)}") from error


def _make(api: "HfApi", repo_id: str, repo_type: str, private: bool | None, revision: str | None) -> None:
    """Make the repository and the branch where they are missing."""
    sdk = "gradio" if repo_type == "space" else None
    create = partial(api.create_repo, repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk)
    patiently(create, _always)
    if private:
        _see_that_it_is_private(api, repo_id, repo_type, EXISTS_PUBLIC)
    if revision not in (None, "main") and not revision.startswith("refs/"):
        patiently(lambda: api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True), _always)


def _see_that_it_is_private(api: "HfApi", repo_id: str, repo_type: str, otherwise: str) -> None:
    """Raise a `UserError` that says what is the case `otherwise`."""
    if not api.repo_info(repo_id, repo_type=repo_type).private:
        raise UserError(f"{repo_id}: {otherwise}")


def _upload(
    api: "HfApi",
    folder: str,
    repo_id: str,
    repo_type: str,
    kind: str,
    message: str | None,
    revision: str | None,
    pull_request: bool,
) -> "CommitInfo":
    def upload() -> "CommitInfo":
        with warnings.catch_warnings():
            # Templates lie in the repositories of the models that use them.
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            return api.upload_folder(
                repo_id=repo_id, repo_type=repo_type, folder_path=folder, revision=revision, create_pr=pull_request,
                commit_message=message or f"Upload {kind} with fusion_hf", delete_patterns=STALE.get(kind),
            )  # fmt: skip

    # A commit whose answer was lost may have been made: repeated, it finds nothing new. A pull request would be double.
    return patiently(upload, _of_a_commit if not pull_request else _was_not_looked_at)


def _verify(api: "HfApi", folder: Path, repo_id: str, repo_type: str, commit: "CommitInfo") -> None:
    """Compare what the commit holds with what was sent, file by file, by checksum."""
    check = api.verify_repo_checksums(repo_id, repo_type=repo_type, revision=commit.oid, local_dir=folder)
    wrong = [*check.extra_paths, *(m["path"] for m in check.mismatches)]
    if wrong:
        some = ", ".join(wrong[:3])
        raise UserError(
            f"{repo_id}: {len(wrong)} files are not on the Hub as they are here ({some}): the same command goes on"
        )


def patiently(call: Callable[[], T], repeat: Callable[[Exception], bool]) -> T:
    """`call`, again after a while where `repeat` says so of its error and the trouble may pass."""
    for wait in (*WAITS, None):
        try:
            return call()
        except Exception as error:
            status = _status(error)
            if wait is None or not repeat(error) or not (status in (*PASSING, 409) if status else _lost(error)):
                raise
            time.sleep(_asked_to_wait(error) or wait)
    raise AssertionError("unreachable")


def _always(error: Exception) -> bool:
    return _status(error) != 409


def _of_a_commit(error: Exception) -> bool:
    """Whether it was the commit, or what precedes it, that failed: huggingface_hub repeats everything else."""
    return any(part in _url(error) for part in ("/commit/", "/validate-yaml"))


def _was_not_looked_at(error: Exception) -> bool:
    return _of_a_commit(error) and (_status(error) in (429, 503) or "/validate-yaml" in _url(error))


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _lost(error: Exception) -> bool:
    """Whether the connection failed."""
    return _status(error) is None and type(error).__module__.split(".")[0] in ("httpx", "httpx2")


def _url(error: Exception) -> str:
    response = getattr(error, "response", None)
    try:
        return str((cast(Any, error) if response is None else response).request.url)
    except (AttributeError, RuntimeError):
        return ""


def _asked_to_wait(error: Exception) -> float | None:
    """Seconds, by Retry-After or by the rate limit that the Hub reports."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    response = getattr(error, "response", None)
    if response is None:
        return None
    asked, limit = response.headers.get("Retry-After", ""), parse_ratelimit_headers(response.headers)
    if not asked.isdecimal() and limit is not None and limit.remaining == 0:
        asked = str(limit.reset_in_seconds + 1)
    return min(float(asked), LONGEST_WAIT) if asked.isdecimal() else None
