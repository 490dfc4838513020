"""How far a job is: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from fedrec.report.pace import Pace
from fedrec.report.units import in_time

QUIET_S = 5.0
"""Seconds between two lines where they cannot be overwritten."""


class Progress:
    """`with Progress(console, "encoding pictures", total) as progress: progress.advance(32)`.

    total: of all there is to do. done: of it before this run; it does not count for the speed.
    """

    def __init__(
        self,
        console: Console,
        label: str,
        total: int,
        *,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._label = label
        self._total = total
        self._done = self._before = done
        self._clock = clock
        self._began_at = clock()
        self._pace = Pace(QUIET_S, at_once=False, clock=clock)
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        self._began_at = self._clock()
        self._pace.said()
        if self._console.is_terminal and self._total:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[at]}"),
            )
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._bar.add_task(self._label, total=self._total, completed=self._done, at=self.state)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the beginning of the body."""
        return self._clock() - self._began_at

    @property
    def state(self) -> str:
        """`320 of 3,629, 29.8 a second, 1 min 51 s left`."""
        text = f"{self._done:,} of {self._total:,}"
        fresh = self._done - self._before
        if not fresh or not self.seconds:
            return text
        speed = fresh / self.seconds
        return f"{text}, {speed:,.1f} a second, {in_time((self._total - self._done) / speed)} left"

    def advance(self, count: int) -> None:
        """`count` more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, at=self.state)
        elif self._pace.due:
            self._console.print(f"{self._label}: {self.state}", highlight=False, soft_wrap=True)
            self._pace.said()
