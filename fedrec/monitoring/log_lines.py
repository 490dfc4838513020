"""A log record as one line: for people, or as one JSON object.

A message may quote what another machine sent, so nothing in it can end its line, begin another, or
move the reader's cursor.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

from fedrec.monitoring.log_context import about_of

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class HumanLines(logging.Formatter):
    """`2026-01-31T12:00:00.000Z WARNING server.exchange [run default, round 3] message`; a
    traceback follows on indented lines."""

    def format(self, record: logging.LogRecord) -> str:
        known = ", ".join(f"{k} {v}" for k, v in about_of(record).items() if v is not None)
        about = f" [{known}]" if known else ""
        head = f"{utc_time(record.created)} {record.levelname} {record.name}"
        lines = [one_line(f"{head}{about} {record.getMessage()}")]
        lines += [f"    {one_line(line)}" for line in _traceback(self, record).splitlines()]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """One object: time (UTC), level, logger, message, run, stage, round, node (null where unknown),
    and `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        content = {
            "time": utc_time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **about_of(record),
        }
        if traceback := _traceback(self, record):
            content["traceback"] = traceback
        return json.dumps(content, default=str)  # ASCII alone, so no control character either


def utc_time(seconds: float) -> str:
    """Seconds since 1970 as `2026-01-31T12:00:00.000Z`."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def one_line(text: str) -> str:
    """The text with every control character as its Python escape."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""
