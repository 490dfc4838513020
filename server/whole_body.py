"""Requests in one piece: the time that a SuperLink spends on a message, many nodes wait for.

Starlette hands a body on in the pieces that come from the network, and each of Flower's nine layers
starts two tasks for each piece. What a layer reads it reads as a whole anyway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class WholeBody:
    """An ASGI application that reads a request's body before it asks the next one.

    It holds as many bytes as a request has: what bounds that stands before it.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless whoever sends it is gone in the midst of it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = bytearray()
        while (event := await receive())["type"] == "http.request":
            body += event.get("body", b"")
            if not event.get("more_body", False):
                return await self._app(scope, _once(bytes(body), receive), send)
        return None


def _once(body: bytes, receive: Receive) -> Receive:
    """First the body, then what comes after it: that whoever asked is gone."""
    left = [body]

    async def next_event() -> MutableMapping[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return next_event
