"""The conditions of a measurement, and what comes out of it: seconds, spreads, ratios, a table.

What is compared is measured in turns, in another order each time, so that whatever else the machine
does falls on everybody alike. A ratio is taken within one turn, and its spread is over the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedrec.config import Config
from server.environment import describe_environment


@dataclass(frozen=True)
class Spread:
    """The median of some values and the quartiles around it."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Quartiles by linear interpolation; of one value, that value."""
        known = tuple(values)
        if len(known) == 1:
            return cls(known[0], known[0], known[0], known)
        low, median, high = statistics.quantiles(known, n=4, method="inclusive")
        return cls(median, low, high, known)

    def text(self, digits: int = 0) -> str:
        """`median [low, high]`."""
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def in_turns(
    parties: Mapping[str, Callable[[int], object]], repetitions: int
) -> dict[str, list[float]]:
    """The seconds that each party takes for repetition 1, 2, ...

    Repetition 0 comes first and does not count: it pays for what later ones find done.
    """
    names, seconds = list(parties), {name: list[float]() for name in parties}
    for name in names:
        parties[name](0)
    for repetition in range(1, repetitions + 1):
        start = repetition % len(names)
        for name in names[start:] + names[:start]:
            began = time.perf_counter()
            parties[name](repetition)
            seconds[name].append(time.perf_counter() - began)
    return seconds


def rates(work: float, seconds: Iterable[float]) -> Spread:
    """`work` (users, say) a second."""
    return Spread.of(work / taken for taken in seconds)


def ratios(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times as long as `fast` `slow` takes, turn by turn."""
    return Spread.of(s / f for s, f in zip(slow, fast, strict=True))


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark understands."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--quick", action="store_true", help="briefly: does it work at all")
    return parser


def conditions() -> dict[str, Any]:
    """Machine, versions, what else it was doing, and the command."""
    about = {k: v for k, v in describe_environment(Config()).items() if k != "config"}
    return {**about, "load_average": os.getloadavg(), "command": sys.argv}


def headline(about: Mapping[str, Any]) -> str:
    """The conditions in a line."""
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    load = f"; load {about['load_average'][0]:.1f}" if "load_average" in about else ""
    return f"{about['processor']}, {about['cores']} cores{load}; {versions}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def publish(
    path: Path | None, about: Mapping[str, Any], measured: Mapping[str, Any], text: str
) -> None:
    """Print the conditions and the text; write all there is to `path`, if it is wanted."""
    print(f"\n{headline(about)}\n\n{text}\n")
    if path is not None:
        path.write_text(json.dumps({"conditions": about, **measured}, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, Spread):
        return asdict(value)
    return str(value)
