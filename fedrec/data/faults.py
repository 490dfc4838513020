"""What is wrong with one row of interactions, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from fedrec.data.rows import field_count_fault

RowCheck = Callable[[list[str]], str | None]


def row_check(header: list[str], *, user: str, item: str, time: str, whole_ids: bool) -> RowCheck:
    """A function from a row's fields to its fault or None.

    The first row settles whether the file's times are numbers or dates; later rows must agree.
    """
    user_at, item_at, time_at = (header.index(column) for column in (user, item, time))
    key_fault = _whole_id_fault if whole_ids else _text_fault
    dates: bool | None = None

    def check(fields: list[str]) -> str | None:
        nonlocal dates
        if len(fields) != len(header):
            return field_count_fault(fields, header)
        if dates is None:
            dates = _is_date(fields[time_at])
        time_fault = _date_fault if dates else _number_fault
        checks = (
            (user, user_at, key_fault),
            (item, item_at, key_fault),
            (time, time_at, time_fault),
        )
        for column, at, fault_of in checks:
            expected = fault_of(fields[at])
            if expected:
                return f"{column} is {fields[at]!r}, expected {expected}"
        return None

    return check


def first_time_fault(times: Iterable[str | None]) -> str | None:
    """Row (from 1), value and what was expected, for the first text that is not a time."""
    dates: bool | None = None
    for row, value in enumerate(times, start=1):
        text = value or ""
        dates = _is_date(text) if dates is None else dates
        expected = _date_fault(text) if dates else _number_fault(text)
        if expected:
            return f"row {row}: the time is {value!r}, expected {expected}"
    return None


def _whole_id_fault(value: str) -> str | None:
    text = value.strip()
    sound = text.isascii() and text.isdigit() and 1 <= int(text) < 2**63
    return None if sound else "a whole number, 1 or more"


def _text_fault(value: str) -> str | None:
    return None if value else "a name that is not empty"


def _number_fault(value: str) -> str | None:
    try:
        number = float(value)
    except ValueError:
        return "a number (a time or a position) or an ISO 8601 date"
    if not math.isfinite(number) or not 0 <= number < 2**62:
        return "a number, 0 or more"
    return None


def _date_fault(value: str) -> str | None:
    if not _is_date(value):
        return "an ISO 8601 date, as in the rows before"
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return None if moment.timestamp() >= 0 else "a date in 1970 or later"


def _is_date(value: str) -> bool:
    if value.strip().isdigit():
        return False  # 20200101 is a number
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
