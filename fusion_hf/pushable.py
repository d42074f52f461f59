"""`push_to_hub` of objects that can save themselves.

This file is copied beside checkpoints (see `remote_code`), where pushing works only with fusion_hf installed: so it is
imported by its full name, and when it is asked for.
"""

import tempfile
from typing import Any

from .errors import MissingPackage


class Pushable:
    """Gives a class with ``save_pretrained(folder)`` a ``push_to_hub``."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        **saving: Any,
    ) -> str:
        """Save, push with a card, and return the URL of the commit; see `fusion_hf.hub.push`.

        Args:
            repo_id: Such as ``user/name``.
            commit_message, private, token, revision, create_pr: As everywhere in the ecosystem.
            saving: What else `save_pretrained` takes.

        Raises:
            UserError: The Hub refused, or (`MissingPackage`) fusion_hf, which writes the card, is not installed.
        """
        try:
            from fusion_hf.hub import push
        except ImportError as error:
            raise MissingPackage(f"push_to_hub needs fusion_hf, which cannot be imported here ({error})") from error
        with tempfile.TemporaryDirectory(prefix="fusion_hf-save-") as folder:
            self.save_pretrained(folder, **saving)  # type: ignore[attr-defined]
            return push(
                folder, repo_id, private=private, message=commit_message, revision=revision,
                pull_request=create_pr, token=token,
            )  # fmt: skip
