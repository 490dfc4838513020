"""What an application behind it gets of a request that comes in pieces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.whole_body import WholeBody

GONE = {"type": "http.disconnect"}


def piece(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def received(*events: dict[str, Any], kind: str = "http", asks: int = 2) -> list[Any]:
    """What the application gets that asks so often."""
    left, found = list(events), list[Any]()

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.extend([await receive() for _ in range(asks)])

    asyncio.run(WholeBody(app)({"type": kind}, receive, send))
    return found


def test_pieces_come_as_one() -> None:
    pieces = [piece(b"ab", True), piece(b"", True), piece(b"c", False), GONE]

    assert received(*pieces) == [piece(b"abc", False), GONE]


@pytest.mark.parametrize("event", [piece(b"", False), {"type": "http.request"}])
def test_a_request_without_a_body(event: dict[str, Any]) -> None:
    assert received(event, GONE) == [piece(b"", False), GONE]


def test_a_request_that_breaks_off_goes_no_further() -> None:
    assert received(piece(b"ab", True), GONE) == []


def test_what_is_no_request_is_passed_on() -> None:
    startup = {"type": "lifespan.startup"}

    assert received(startup, kind="lifespan", asks=1) == [startup]
