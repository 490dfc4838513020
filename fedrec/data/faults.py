"""What is wrong with one row of interactions, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

from fedrec.data.rows import field_count_fault
from fedrec.data.split import LABELS

RowCheck = Callable[[list[str]], str | None]


def row_check(
    header: list[str],
    *,
    keys: tuple[str, ...],
    time: str | None,
    label: str | None = None,
    first_id: int | None = None,
) -> RowCheck:
    """A function from a row's fields to its fault or None.

    keys: columns that must hold whole numbers from `first_id`, or, without one, any text. The
    first row settles whether the file's times are numbers or dates; later rows must agree.
    """
    key_fault = _text_fault if first_id is None else partial(_whole_id_fault, first=first_id)
    dates: bool | None = None

    def check(fields: list[str]) -> str | None:
        nonlocal dates
        if len(fields) != len(header):
            return field_count_fault(fields, header)
        if dates is None and time is not None:
            dates = _is_date(fields[header.index(time)])
        time_fault = _date_fault if dates else _number_fault
        checks = (*((key, key_fault) for key in keys), (time, time_fault), (label, _label_fault))
        for column, fault_of in checks:
            if column is not None:
                value = fields[header.index(column)]
                expected = fault_of(value)
                if expected:
                    return f"{column} is {value!r}, expected {expected}"
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


def _whole_id_fault(value: str, first: int) -> str | None:
    text = value.strip()
    short = text.isascii() and text.isdigit() and len(text.lstrip("0")) < 20
    sound = short and first <= int(text.lstrip("0") or "0") < 2**63
    return None if sound else f"a whole number, {first} or more"


def _label_fault(value: str) -> str | None:
    known = [str(label) for label in range(len(LABELS))]
    meanings = ", ".join(f"{label} ({LABELS[int(label)]})" for label in known)
    return None if value.strip() in known else f"one of {meanings}"


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
