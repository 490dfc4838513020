"""Numbers with units, short enough for a line."""

from __future__ import annotations

MISSING = "-"


def in_bytes(count: float) -> str:
    """1536 -> `1.5 kB` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def in_time(seconds: float | None) -> str:
    """75 -> `1 min 15 s`; unknown -> `-`."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def in_digits(value: float | None, digits: int = 4) -> str:
    """0.12345 -> `0.1235`; unknown -> `-`."""
    return MISSING if value is None else f"{value:.{digits}f}"
