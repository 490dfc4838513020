"""Flower's own messenger, woken by what is sent."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.server.superlink.fleet.vce.vce_api import add_messages_to_queue
from flwr.superlink.grid import InMemoryGrid

from server.prompt import POLL_S, prompt_grid, wake_engine

SLEEP_S = 0.1
"""How long Flower's messenger sleeps between two looks."""
FALLS_ASLEEP_S = 0.01
"""Enough for it to begin: whoever wakes it before that wakes nobody."""


class State:
    """What a simulation keeps its messages in: those of one node, in their order."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def get_message_ins(self, node_id: int, limit: int) -> list[Any]:
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def delivered(state: State) -> Iterator[queue.Queue[Any]]:
    """What Flower's messenger brings to the nodes of `state`."""
    found: queue.Queue[Any] = queue.Queue()
    end = threading.Event()
    messenger = threading.Thread(
        target=add_messages_to_queue, args=(state, found, {1: 0}, end), daemon=True
    )
    messenger.start()
    yield found
    end.set()
    messenger.join(timeout=5)
    assert not messenger.is_alive()


def seconds_for(messages: int, state: State, delivered: queue.Queue[Any], *, wake: bool) -> float:
    """How long this many messages take, each sent when the one before is there."""
    began = time.monotonic()
    for number in range(messages):
        time.sleep(FALLS_ASLEEP_S)
        state.waiting.append(number)
        if wake:
            wake_engine()
        assert delivered.get(timeout=5) == number
    return time.monotonic() - began


def test_a_woken_messenger_does_not_sleep_out(state: State, delivered: queue.Queue[Any]) -> None:
    asleep = seconds_for(10, state, delivered, wake=False)
    woken = seconds_for(10, state, delivered, wake=True)

    assert asleep > 8 * SLEEP_S
    assert woken < asleep / 3


def test_to_be_woken_is_not_to_be_ended(state: State, delivered: queue.Queue[Any]) -> None:
    for _ in range(100):
        wake_engine()

    assert seconds_for(1, state, delivered, wake=True) < 5


def test_without_an_engine_there_is_nobody_to_wake() -> None:
    wake_engine()


def test_a_simulations_grid_wakes_its_engine(state: State, delivered: queue.Queue[Any]) -> None:
    class Grid(InMemoryGrid):
        def push_messages(self, messages: Any) -> list[str]:
            state.waiting.extend(messages)
            return ["id"]

    grid = prompt_grid(Grid(SimpleNamespace(state=lambda: None)))  # type: ignore[arg-type]

    began = time.monotonic()
    for number in range(10):
        time.sleep(FALLS_ASLEEP_S)
        assert list(grid.push_messages([number])) == ["id"]  # type: ignore[list-item]
        assert delivered.get(timeout=5) == number

    assert time.monotonic() - began < 5 * SLEEP_S
    assert getattr(grid, "pull_interval", None) == POLL_S


def test_another_grid_is_left_alone() -> None:
    deployed: Any = SimpleNamespace()

    assert prompt_grid(deployed) is deployed
    assert vars(deployed) == {}
