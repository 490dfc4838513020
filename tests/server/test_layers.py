"""A request that passes fewer of Flower's layers gets the answer that all of them would give."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from flwr.superlink.main import create_app

from server.layers import IDLE, by_path

PATHS = [
    "/v1/fleet/pull-messages",
    "/v1/fleet/register-node",
    "/v1/fleet/nothing",
    "/v1/runtime/get-nodes",
    "/v1/runtime/pull-messages",
    "/v1/control/list-runs",
    "/health",
]


def answers(app: Any, path: str) -> list[tuple[int, bytes]]:
    """To an empty request, one that is no protobuf, and one of another kind."""

    async def ask() -> list[tuple[int, bytes]]:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            kind = {"content-type": "application/x-protobuf"}
            found = [
                await client.post(path, headers=kind),
                await client.post(path, headers=kind, content=b"\xff\xff"),
                await client.post(path, json={}),
                await client.get(path),
            ]
        return [(one.status_code, one.content) for one in found]

    return asyncio.run(ask())


@pytest.mark.parametrize("path", PATHS)
def test_answers_are_those_of_all_layers(path: str) -> None:
    app = create_app()

    assert answers(by_path(app), path) == answers(app, path)


@pytest.mark.parametrize("start", IDLE)
def test_every_layer_that_is_left_out_is_one_of_flowers(start: str) -> None:
    layers = {layer.cls for layer in create_app().user_middleware}

    assert set(IDLE[start]) < layers
