"""The end of a log, for people."""

from __future__ import annotations

import re
from pathlib import Path

LAST_LINES = 15
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def last_lines(log: Path, start: int = 0) -> list[str]:
    """The last lines that are not empty, of what was written after `start` bytes."""
    text = without_colours(log.read_bytes()[start:].decode(errors="replace"))
    return [line for line in text.splitlines() if line.strip()][-LAST_LINES:]


def without_colours(text: str) -> str:
    """The text without the codes that colour it on a terminal."""
    return _COLOURS.sub("", text)
