"""One line of metrics.jsonl, checked: whoever reads one may rely on its types."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]
_LARGEST = 2**64


def round_record(line: bytes) -> Record | None:
    """The round that a line tells of; None for a line that is damaged or tells of none.

    A record has `stage` (text), `round` and `rounds` (counts). What else it has is of the type that
    the server writes; an older run's may lack some.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not {"stage", "round", "rounds"} <= record.keys():
        return None
    return record if all(_fits(name, value) for name, value in record.items()) else None


def _fits(name: str, value: Any) -> bool:
    check = _CHECKS.get(name)
    return check is None or check(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    """Finite, as the server takes no other from a node."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _by_name(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _several(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


_COUNTS = ("round", "rounds", "users", "bytes_up", "bytes_down", "asked", "unanswered", "refused")
_NUMBERS = ("users_per_s", "slowest_node_s", "seconds", "remaining_s", "ended_at")
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "stage": _text,
    **dict.fromkeys(_COUNTS, _count),
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys(("loss", "gate", "transition_gate"), _or_none(_number)),
    **dict.fromkeys(("group_bytes_up", "group_bytes_down"), _by_name(_count)),
    "update_norms": _by_name(_number),
    "validation": _or_none(_by_name(_by_name(_number))),
    "warnings": _several(_text),
    **dict.fromkeys(("silent_nodes", "refused_nodes"), _several(_count)),
}
