"""A run's summary as a few lines for people."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fedrec.monitoring.log_lines import one_line, utc_time
from fedrec.monitoring.run_summary import LastRound, RunSummary, Validation
from fedrec.report.units import MISSING, in_bytes, in_digits, in_time

_SHOWN = 5
"""How many nodes are named."""


def summary_text(summary: RunSummary, now: float | None = None) -> str:
    """Lines of a label and what there is to say; `now` in seconds since 1970."""
    rows = list(_rows(summary, time.time() if now is None else now))
    width = max(len(label) for label, _ in rows)
    lines = [f"  {label:<{width}}  {one_line(value)}" for label, value in rows]
    return "\n".join([f"{summary.run}: {_headline(summary)}", *lines])


def _headline(summary: RunSummary) -> str:
    if summary.state == "killed":
        return f"killed (it says running, but process {summary.pid} is gone)"
    if summary.state == "unreachable":
        return f"running on {summary.host}, by its own word; that cannot be checked from here"
    return summary.state


def _rows(summary: RunSummary, now: float) -> Iterator[tuple[str, str]]:
    if summary.error is not None:
        yield "why", summary.error
    if summary.doing is not None and summary.state != "finished":
        yield ("doing" if summary.alive_or_done else "was doing"), _doing(summary, now)
    last = summary.last_round
    yield "last round", MISSING if last is None else _round(last)
    if last is not None:
        yield "validation", _validations(summary.validation, summary.best)
        yield "its nodes", _nodes(last)
    yield "whole run", _whole(summary)
    if summary.remaining_s is not None and last is not None:
        yield "remaining", f"{in_time(summary.remaining_s)} to the end of stage {last.stage}"
    if summary.unreadable:
        yield "damaged", f"{summary.unreadable} lines of metrics.jsonl cannot be read"
    for warning in summary.warnings:
        yield "warning", warning
    if summary.next is not None:
        yield "next", summary.next


def _doing(summary: RunSummary, now: float) -> str:
    place = f"stage {summary.stage}, " if summary.stage else ""
    place += f"round {summary.round}: " if summary.round else ""
    if summary.since is None:
        return f"{place}{summary.doing}"
    ago = in_time(max(0.0, now - summary.since))
    return f"{place}{summary.doing}, since {utc_time(summary.since)} ({ago} ago)"


def _round(last: LastRound) -> str:
    text = f"{last.stage} {last.round} of {last.rounds}, took {last.seconds:.1f} s"
    text += f", {last.users} users, loss {in_digits(last.loss)}"
    if last.ended_at is None:
        return text
    return f"{text}, ended {utc_time(last.ended_at)} ({in_time(last.age_s)} ago)"


def _validations(newest: Validation | None, best: Validation | None) -> str:
    if newest is None or best is None:
        return "none yet in this stage"
    return (
        f"NDCG@10 {newest.ndcg:.4f} in round {newest.round}, "
        f"best {best.ndcg:.4f} in round {best.round}"
    )


def _nodes(last: LastRound) -> str:
    text = f"{last.answered} of {last.asked} answers fit"
    for label, nodes in (("refused", last.refused), ("silent", last.silent)):
        if nodes:
            more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
            text += f"; {label}: {', '.join(map(str, nodes[:_SHOWN]))}{more}"
    return text


def _whole(summary: RunSummary) -> str:
    return (
        f"{summary.rounds_done} rounds ({summary.failed_rounds} changed nothing), "
        f"{summary.refused} answers refused, {summary.unanswered} missing, "
        f"up {in_bytes(summary.bytes_up)}, down {in_bytes(summary.bytes_down)}"
    )
