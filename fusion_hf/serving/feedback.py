"""What clients say of answers: scores for request ids, in files beside the shards."""

import datetime
import json
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..logs.shards import append, shard_files
from .errors import ServeError
from .traffic import TrafficLog

logger = logging.getLogger(__name__)
THUMBS = {"up": 1.0, "down": 0.0}
LONGEST_COMMENT = 2000


class Feedback:
    """Takes scores for requests that are in the log. A later score for a request replaces an earlier one."""

    def __init__(self, log: TrafficLog):
        self.log = log
        self._file = -1

    def read(self, body: Any) -> dict[str, Any]:
        """The line of a body ``{"request_id", "score" | "thumbs", "comment"?}``; `ServeError` 400 for another one."""
        if not isinstance(body, dict) or not isinstance(body.get("request_id"), str) or len(body["request_id"]) > 100:
            raise ServeError(400, "expected a JSON object with request_id, as the header x-request-id told it")
        score, thumbs, comment = body.get("score"), body.get("thumbs"), body.get("comment")
        if thumbs is not None:
            score = THUMBS.get(thumbs) if isinstance(thumbs, str) else None
        number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
        if not number or not 0 <= score <= 1:
            raise ServeError(400, "expected a score from 0 to 1, or thumbs up or down")
        if comment is not None and not (isinstance(comment, str) and len(comment) <= LONGEST_COMMENT):
            raise ServeError(400, f"comment: expected a text of at most {LONGEST_COMMENT} characters")
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"request_id": body["request_id"], "score": float(score), "comment": comment, "at": at}
        return {k: v for k, v in line.items() if v is not None}

    def known(self, request_id: str, client: str) -> bool:
        """Whether the log has that request of that client. Looks through the shards for one of long ago."""
        found = self.log.recent.get(request_id)
        if found is None and self.log.folder is not None:
            found = next(_clients(self.log.folder, request_id), None)
        return found == client

    def write(self, line: dict[str, Any]) -> None:
        """Append a line of `read`; `ServeError` 507 where it cannot be kept."""
        try:
            if self._file < 0:
                path = Path(self.log.folder) / f"feedback-{os.getpid()}-{datetime.date.today():%Y%m%d}.jsonl"
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            append(self._file, json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        except OSError as error:
            logger.error("%s: feedback cannot be kept: %s", self.log.folder, error.strerror)
            told = f"the feedback was not kept ({error.strerror}): send it again later"
            raise ServeError(507, told, "server_error", "not_kept") from None

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _clients(folder: Path, request_id: str) -> Iterator[str]:
    wanted = json.dumps(request_id).encode()
    for path in reversed(shard_files(folder)):
        with open(path, "rb") as lines:
            for line in lines:
                if wanted in line and line.endswith(b"\n"):
                    row = json.loads(line)
                    if row.get("request_id") == request_id:
                        yield row.get("client", "")
