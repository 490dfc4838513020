"""What a running or dead run was doing, put together from its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fedrec.errors import DataError
from fedrec.monitoring.run_state import RunState, read_state
from fedrec.monitoring.totals import RunTotals, StageTotals, quality

LAST = 5
"""How many of the last warnings are told."""
_GOES_ON = {"failed", "stopped", "killed"}
_FILES = ("status.json", "metrics.jsonl", "config.toml", "flower.log")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """NDCG@10 over all items that a user has not met (`full`), and the round that reached it."""

    round: int
    ndcg: float


@dataclass(frozen=True, kw_only=True)
class LastRound:
    """The newest complete round. ended_at: seconds since 1970, age_s: since then, None where the
    file does not tell. asked: questions to nodes, training and validation; answered: fit answers;
    refused, silent: the nodes."""

    stage: str
    round: int
    rounds: int
    seconds: float
    ended_at: float | None
    age_s: float | None
    loss: float | None
    users: int
    asked: int
    answered: int
    refused: list[int]
    silent: list[int]


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """state, error, doing, stage, round: see `RunState`. doing_s: how long it does that, or for a
    run that is over did it at most, until its last sign of life. validation, best: of the newest
    round's stage. remaining_s: expected to the end of that stage. bytes_up, bytes_down,
    failed_rounds, refused, unanswered: of the whole run. unreadable: damaged lines. next: what to
    do, None = wait."""

    run: str
    state: str
    error: str | None
    doing: str | None
    stage: str | None
    round: int | None
    since: float | None
    pid: int | None
    host: str | None
    last_round: LastRound | None
    validation: Validation | None
    best: Validation | None
    remaining_s: float | None
    rounds_done: int
    failed_rounds: int
    refused: int
    unanswered: int
    bytes_up: int
    bytes_down: int
    warnings: list[str] = field(default_factory=list)
    unreadable: int = 0
    next: str | None = None

    @property
    def alive_or_done(self) -> bool:
        """Whether there is nothing that somebody must do."""
        return self.state in ("running", "finished", "unreachable")

    def as_json(self) -> dict[str, Any]:
        """Plain values, under the names above."""
        return asdict(self)


def summarize(out: Path, clock: Callable[[], float] = time.time) -> RunSummary:
    """The summary of the run in folder `out`; clock: seconds since 1970.

    Whatever is missing or damaged in the folder is left out. Raises DataError for a folder that
    holds nothing of a run.
    """
    if not any((out / name).exists() for name in _FILES):
        raise DataError(f"{out}: holds no run (none of {', '.join(_FILES)})")
    state, totals = read_state(out / "status.json"), RunTotals(out / "metrics.jsonl")
    records = totals.refresh()
    stages, newest = totals.stages.values(), totals.newest
    warnings = [_placed(record, text) for record in records for text in record.get("warnings", ())]
    return RunSummary(
        run=str(out),
        state=state.state,
        error=state.error,
        doing=state.doing,
        stage=state.stage,
        round=state.round,
        since=state.since or None,
        pid=None if state.process is None else state.process.pid,
        host=None if state.process is None else state.process.host,
        last_round=None if newest is None else _last_round(newest.newest, clock()),
        validation=None if newest is None else _validation(newest.validated),
        best=None if newest is None else _validation(newest.best),
        remaining_s=_remaining(state, newest),
        rounds_done=sum(stage.rounds for stage in stages),
        failed_rounds=sum(stage.failed for stage in stages),
        refused=sum(stage.refused for stage in stages),
        unanswered=sum(stage.unanswered for stage in stages),
        bytes_up=sum(stage.bytes_up for stage in stages),
        bytes_down=sum(stage.bytes_down for stage in stages),
        warnings=warnings[-LAST:],
        unreadable=totals.unreadable,
        next=_advice(out, state),
    )


def _last_round(record: Mapping[str, Any], now: float) -> LastRound:
    ended = record.get("ended_at")
    asked, refused = record.get("asked", 0), record.get("refused", 0)
    return LastRound(
        stage=record["stage"],
        round=record["round"],
        rounds=record["rounds"],
        seconds=record.get("seconds", 0.0),
        ended_at=ended,
        age_s=None if ended is None else max(0.0, now - ended),
        loss=record.get("loss"),
        users=record.get("users", 0),
        asked=asked,
        answered=max(0, asked - refused - record.get("unanswered", 0)),
        refused=list(record.get("refused_nodes", ())),
        silent=list(record.get("silent_nodes", ())),
    )


def _validation(record: Mapping[str, Any] | None) -> Validation | None:
    value = quality(record)
    return (
        None if record is None or value is None else Validation(round=record["round"], ndcg=value)
    )


def _remaining(state: RunState, newest: StageTotals | None) -> float | None:
    """Of a run that is over, nothing remains or nobody knows."""
    if state.state not in ("running", "unreachable") or newest is None:
        return None
    if state.stage not in (None, newest.newest["stage"]):
        return None  # the next stage has no round yet
    remaining: float | None = newest.newest.get("remaining_s")
    return remaining


def _placed(record: Mapping[str, Any], text: str) -> str:
    return f"{record['stage']} {record['round']}: {text}"


def _advice(out: Path, state: RunState) -> str | None:
    if state.state in _GOES_ON:
        return f"go on with the command that started it (fedrec run or server), --resume out={out}"
    if state.state == "not started":
        return f"see {out / 'flower.log'}: no server app has begun here"
    if state.state == "unreachable":
        return f"ask on {state.process.host}" if state.process else None
    return f"fedrec evaluate {out}" if state.state == "finished" else None
