"""The gate before Flower's SuperLink: what of it other machines reach, and who may come in.

A SuperLink serves three APIs on one port. Whoever reaches its Control API may submit code that then
runs on the server and on every node, and register a key of their own; whoever reaches its Runtime
API may take the place of the server app. Neither asks who is calling. So the SuperLink listens on
this machine alone, and other machines reach this gate, which lets requests of nodes through to the
Fleet API and nothing else. In a federation with keys it asks for a signature before it reads on.
What gate and SuperLink could read in two ways is refused; Flower's clients send nothing like it.
"""

from __future__ import annotations

import logging
import time

from server.gate_keys import NodeKeys, Refusal
from server.whole_body import App, Receive, Scope, Send

LOG = logging.getLogger(__name__)
MAX_REQUEST_BYTES = 32 << 20
"""Flower cuts arrays into objects of 5 MiB, each a request of its own."""
REPEAT_S = 60.0
"""The same refusal of the same machine is logged again after this long."""

_FLEET = frozenset(
    f"/v1/fleet/{name}"
    for name in (
        "activate-node deactivate-node send-node-heartbeat pull-messages push-messages get-run "
        "get-fab push-object pull-object confirm-message-received"
    ).split()
)
_SELF_REGISTRATION = frozenset(("/v1/fleet/register-node", "/v1/fleet/unregister-node"))
_HEALTH = "/health"


class Gate:
    """An ASGI application before the SuperLink's.

    keys: of the nodes that may come in; None = anybody may, as in a federation without TLS.
    """

    def __init__(self, app: App, keys: NodeKeys | None) -> None:
        self._app, self._keys = app, keys
        self._open = _FLEET if keys is not None else _FLEET | _SELF_REGISTRATION
        self._logged: dict[tuple[str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            self._log(scope, refusal)
            await _answer(send, refusal)

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Why this request is not let through; None if it is."""
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        if len(headers) < len(scope["headers"]) or "transfer-encoding" in headers:
            return Refusal(
                400, "a request with a header that comes twice, or with transfer-encoding"
            )
        if (scope["method"], scope["path"]) == ("GET", _HEALTH):
            signed = self._keys is not None and self._keys.are_shown(headers)
            return self._keys.refusal(headers) if signed and self._keys is not None else None
        if scope["method"] != "POST" or scope["path"] not in self._open:
            return Refusal(404, f"{scope['method']} {scope['path']} is not for other machines")
        if self._keys is not None and (refusal := self._keys.refusal(headers)) is not None:
            return refusal
        return _size_refusal(headers)

    def _log(self, scope: Scope, refusal: Refusal) -> None:
        """A line, but not one a request: a stranger must not fill the disk."""
        host = str((scope.get("client") or ("an unknown address",))[0])
        kind, now = (host, refusal.reason[:40]), time.monotonic()
        if now - self._logged.get(kind, -REPEAT_S) < REPEAT_S:
            return
        if len(self._logged) > 1000:
            self._logged.clear()
        self._logged[kind] = now
        LOG.warning("refused %s: %s", host, refusal.reason)


def _size_refusal(headers: dict[str, bytes]) -> Refusal | None:
    length = headers.get("content-length", b"")
    if not length.isdigit():
        return Refusal(411, "a request that does not say how long it is")
    if len(length) > 18 or int(length) > MAX_REQUEST_BYTES:
        return Refusal(
            413, f"a request of {length[:18].decode()} bytes, at most {MAX_REQUEST_BYTES} are taken"
        )
    return None


async def _answer(send: Send, refusal: Refusal) -> None:
    body = refusal.reason.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the request is not read
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
