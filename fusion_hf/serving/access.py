"""Whose request it is: bearer tokens, and the rules for a server that asks for none."""

import ipaddress
import urllib.parse
from collections.abc import Mapping
from typing import Any

from .clients import ANYBODY, Client, digest
from .errors import ServeError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Access:
    """Finds the client of a request.

    Without clients anybody on this machine may ask, but no web page: one that somebody visits could otherwise have the
    browser ask in its name. Such a request tells another origin, or a name for this machine that is not its own.

    Args:
        clients: By the hash of their token; {} lets anybody in.
        names: Hosts that a request may name where there are no clients.
    """

    def __init__(self, clients: Mapping[bytes, Client], names: tuple[str, ...] = LOOPBACK):
        self.clients, self.names = clients, names
        self.anybody = Client(ANYBODY)

    def client(self, scope: Mapping[str, Any]) -> Client:
        """The client of an ASGI request. Raises `ServeError` 401 or 403."""
        headers = dict(scope["headers"])
        if self.clients:
            scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
            found = self.clients.get(digest(token.strip())) if scheme.lower() == "bearer" else None
            if found is None:
                raise ServeError(
                    401, "expected a known key as  Authorization: Bearer …", "authentication_error", "invalid_api_key"
                )
            return found
        peer = (scope.get("client") or ("127.0.0.1",))[0]
        if not is_loopback(peer):
            raise ServeError(403, "without keys this server answers its own machine only", code="peer")
        host = headers.get(b"host", b"").decode("latin-1")
        if _name(f"//{host}") not in self.names:
            raise ServeError(403, "without keys this server answers to its own name only", code="host")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and urllib.parse.urlsplit(origin).netloc != host:
            raise ServeError(403, "this server has no keys and answers no pages of other sites", code="origin")
        return self.anybody


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(address: str) -> str | None:
    try:
        return urllib.parse.urlsplit(address).hostname
    except ValueError:
        return None
