"""One round as one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedrec.report.units import MISSING, in_bytes, in_digits, in_time


def round_line(record: Mapping[str, Any], validation: Mapping[str, Any] | None) -> str:
    """Stage, round, loss, validation, gate, users/s, bytes up and down, time left.

    record: a line of metrics.jsonl. validation: the newest one of the stage, None before the first.
    """
    parts = [
        f"{record['stage']} {record['round']}/{record['rounds']}",
        f"loss {in_digits(record.get('loss'))}",
        f"val NDCG@10 {in_digits(metric(validation, 'full/ndcg@10'))}",
        f"gate {in_digits(record.get('gate'), 3)}",
        f"{_rate(record.get('users_per_s'))} users/s",
        f"up {in_bytes(record.get('bytes_up') or 0)}",
        f"down {in_bytes(record.get('bytes_down') or 0)}",
        f"{in_time(record.get('remaining_s'))} left",
    ]
    return "  ".join(parts)


def metric(values: Mapping[str, Any] | None, name: str) -> float | None:
    """`full/ndcg@10` out of {"full": {"ndcg@10": ...}}; None where it is not there."""
    protocol, _, key = name.partition("/")
    value = ((values or {}).get(protocol) or {}).get(key)
    return None if value is None else float(value)


def _rate(value: float | None) -> str:
    return MISSING if value is None else f"{value:.0f}"
