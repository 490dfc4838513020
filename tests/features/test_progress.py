from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from features.progress import Progress


class Clock:
    """Shows what it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def console() -> Callable[[bool], tuple[Console, io.StringIO]]:
    def make(terminal: bool) -> tuple[Console, io.StringIO]:
        stream = io.StringIO()
        return Console(file=stream, force_terminal=terminal, width=100), stream

    return make


def test_elsewhere_a_plain_line_every_few_seconds(clock, console) -> None:
    shown, stream = console(False)
    with Progress(shown, "encoding texts", 3000, done=1000, clock=clock) as progress:
        for second in range(1, 12):
            clock.now = second
            progress.advance(100)
    assert stream.getvalue().splitlines() == [
        "encoding texts: 1,500 of 3,000, 100.0 a second, 15 s left",
        "encoding texts: 2,000 of 3,000, 100.0 a second, 10 s left",
    ]


def test_on_a_terminal_one_line_is_overwritten_and_leaves_nothing(clock, console) -> None:
    shown, stream = console(True)
    with Progress(shown, "encoding texts", 300, clock=clock) as progress:
        clock.now = 1
        progress.advance(100)
        assert progress.state == "100 of 300, 100.0 a second, 2 s left" and progress.seconds == 1
    assert "encoding texts" in stream.getvalue() and "100 of 300" in stream.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_to_do(clock, console, terminal) -> None:
    shown, stream = console(terminal)
    with Progress(shown, "encoding texts", 0, clock=clock) as progress:
        assert progress.state == "0 of 0"
    assert stream.getvalue() == ""
