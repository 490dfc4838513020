"""Follows a submitted run to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, Any

import httpx

from fedrec.processes import without_colours
from fedrec.report import MetricsFile
from server.launch_control import Control
from server.launch_status import StatusFile
from server.launch_superlink import SuperLink

POLL_S = 0.1
LOG_TIMEOUT_S = 3.0
"""How long the last lines of a failed app may take; Flower collects them every second."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """error: why the run failed; None if it finished. killed: whether a process ended without a
    word, so that the run can go on from its last state."""

    error: str | None
    killed: bool = False


class LogCopy:
    """Copies the apps' output into the Flower log, in a thread, until the run has ended."""

    def __init__(self, control: Control, run_id: int, log: IO[bytes]) -> None:
        self._lines = control.logs(run_id)
        self._log = log
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Give the last lines time to arrive."""
        self._thread.join(LOG_TIMEOUT_S)

    def _copy(self) -> None:
        for text in self._lines:
            if self._log.closed:
                return
            self._log.write(without_colours(text).encode())
            self._log.flush()


def follow(
    run_id: int,
    *,
    control: Control,
    superlink: SuperLink,
    metrics: MetricsFile,
    status: StatusFile,
    copy: LogCopy,
    show: Callable[[dict[str, Any]], None],
    refresh: Callable[[], None] = lambda: None,
) -> Outcome:
    """Pass every round to `show` until the run has ended, and say how it ended.

    refresh: called in between.
    The app's own word (status.json) counts before Flower's: it comes seconds earlier, as Flower
    first shuts its simulation down.
    """
    while (outcome := _outcome(run_id, control, superlink, status, copy)) is None:
        _show_all(metrics, show)
        refresh()
        time.sleep(POLL_S)
    _show_all(metrics, show)
    if outcome.error is not None:
        copy.wait()
    return outcome


def _show_all(metrics: MetricsFile, show: Callable[[dict[str, Any]], None]) -> None:
    for record in metrics.new_records():
        show(record)


def _outcome(
    run_id: int, control: Control, superlink: SuperLink, status: StatusFile, copy: LogCopy
) -> Outcome | None:
    """How the run ended; None while it is running."""
    said = status.read()
    if said is not None and said.state == "finished":
        return Outcome(error=None)
    if said is not None and said.state in ("failed", "stopped"):
        return Outcome(error=said.error or "the server app failed without a message")
    if superlink.process.poll() is not None:
        code = superlink.process.returncode
        return Outcome(error=f"the SuperLink ended with code {code}", killed=True)
    if said is not None and said.state == "killed" and _without_a_word(status):
        return Outcome(error="the server app ended without a word", killed=True)
    if not copy.ended or (outcome := _flower_outcome(run_id, control)) is None:
        return None
    unsaid = said is not None and outcome.error is not None and _without_a_word(status)
    return replace(outcome, killed=outcome.killed or unsaid)


def _without_a_word(status: StatusFile) -> bool:
    """Whether an app that is not there any more did not say how it ended before it went."""
    now = status.read()
    return now is not None and now.state not in ("finished", "failed", "stopped")


def _flower_outcome(run_id: int, control: Control) -> Outcome | None:
    try:
        state = control.state(run_id)
    except httpx.TimeoutException:  # many nodes ask at once: its process would say if it had ended
        return None
    except httpx.HTTPError as error:
        return Outcome(error=f"the SuperLink does not answer: {error}", killed=True)
    if not state.finished:
        return None
    return Outcome(error=None if state.completed else state.details or "the run was stopped")
