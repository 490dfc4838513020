"""OUT/status.json: what a run is doing, by its own word, and whether that still holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedrec.processes import ProcessIdentity, is_alive

STATES = ("running", "finished", "failed", "stopped", "killed", "unreachable", "not started")
"""`killed`: it says running, and its process is gone. `unreachable`: on another machine.
`stopped`: by Ctrl-C or a signal. `not started`: no server app has written here."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """state: one of STATES. error: why it failed, or what stopped it. doing: what it does, or did
    last, in stage `stage` and round `round` as far as there are such. since, began: seconds since
    1970 at which it began to do that, and at which its process took over; 0 = unknown."""

    state: str
    error: str | None = None
    doing: str | None = None
    stage: str | None = None
    round: int | None = None
    since: float = 0.0
    began: float = 0.0
    process: ProcessIdentity | None = None

    def as_json(self) -> dict[str, Any]:
        """The content of status.json."""
        content = asdict(self)
        process = content.pop("process")
        return {**content, **(process or {})}


NOT_STARTED = RunState(state="not started")


def read_state(path: Path) -> RunState:
    """The state that status.json tells, `killed` or `unreachable` where its process tells so.

    A file that is missing, damaged or being written tells nothing: `not started`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return NOT_STARTED
    if not isinstance(content, dict) or content.get("state") not in STATES:
        return NOT_STARTED
    process = _process(content)
    return RunState(
        state=_seen_from_here(content["state"], process),
        process=process,
        error=_of_type(content, "error", str),
        doing=_of_type(content, "doing", str),
        stage=_of_type(content, "stage", str),
        round=_of_type(content, "round", int),
        since=_of_type(content, "since", float) or 0.0,
        began=_of_type(content, "began", float) or 0.0,
    )


def _seen_from_here(state: str, process: ProcessIdentity | None) -> str:
    if state != "running" or process is None:
        return state
    return {True: "running", False: "killed", None: "unreachable"}[is_alive(process)]


def _process(content: Mapping[str, Any]) -> ProcessIdentity | None:
    host, boot = _of_type(content, "host", str), _of_type(content, "boot", str)
    pid, started = _of_type(content, "pid", int), _of_type(content, "started", int)
    if host is None or boot is None or pid is None or started is None:
        return None
    return ProcessIdentity(host=host, boot=boot, pid=pid, started=started)


def _of_type(content: Mapping[str, Any], key: str, kind: Callable[..., Any]) -> Any:
    """The value, None where it is not of that type."""
    value = content.get(key)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if type(value) is kind else None
