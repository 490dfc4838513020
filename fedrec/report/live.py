"""The live line of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

from fedrec.report.pace import Pace
from fedrec.report.round_line import round_line

QUIET_S = 2.0
"""Seconds between two lines where lines cannot be overwritten (a file, a pipe, CI)."""


class Live:
    """Shows rounds as they come: `with Live(console, message) as live: live.show(record)`.

    On a terminal the newest round is one line that is overwritten, and rounds with a validation
    stay above it. Elsewhere rounds with a validation are printed, others at most every QUIET_S.
    Warnings are always printed. message: the first line.
    """

    def __init__(
        self, console: Console, message: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._pace = Pace(QUIET_S, at_once=True, clock=clock)
        self._message = message
        self._status: Status | None = None
        self._validation: Mapping[str, Any] | None = None
        self._stage: str | None = None

    def __enter__(self) -> Live:
        self._print(Text(self._message))
        if self._console.is_terminal:
            self._status = self._console.status("no round yet")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, record: Mapping[str, Any]) -> None:
        """Show one round: an object of metrics.jsonl."""
        for warning in record.get("warnings") or ():
            self._print(Text(f"warning: {warning}", style="yellow"))
        self._remember(record)
        line = round_line(record, self._validation)
        if self._status is not None:
            self._status.update(_one_line(line))
        if record.get("validation") or self._is_due():
            self._print(Text(line))
            self._pace.said()

    def _remember(self, record: Mapping[str, Any]) -> None:
        """Keep the stage's newest validation; a new stage starts without one."""
        if record["stage"] != self._stage:
            self._stage, self._validation = record["stage"], None
        self._validation = record.get("validation") or self._validation

    def _is_due(self) -> bool:
        return self._status is None and self._pace.due

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def _one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
