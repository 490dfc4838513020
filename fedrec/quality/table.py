"""The measurements as text: tables of the features, of their signal, and of their overlap."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from fedrec.quality.duplicates import NEAR_COSINE
from fedrec.quality.intervals import Interval
from fedrec.quality.measure import Modality, Quality
from fedrec.quality.overlap import NEIGHBOURS, Overlap
from fedrec.quality.signal import Lift
from fedrec.report.units import MISSING, in_digits

SIGNAL = ("against unseen", "lift", "in s.d.", "AUC")


def quality_tables(quality: Quality) -> Iterator[Table]:
    """Features: a column a modality. Signal: rows for each. Overlap: a column a pair, if any."""
    modalities = quality.modalities.items()
    yield from _columns("Features", [_described(*entry) for entry in modalities], beside=3)
    signal = _table("Signal", SIGNAL)
    for name, modality in modalities:
        for row in _signal_rows(name, modality):
            signal.add_row(*map(Text, row))
    yield signal
    yield from _columns("Overlap of two", [_compared(pair) for pair in quality.overlaps], beside=2)


def sizes_line(quality: Quality) -> str:
    """How much there is, and with which seed it was looked at."""
    return (
        f"{quality.name}: {quality.items:,} items, {quality.validation_users:,} users with a "
        f"validation item; seed {quality.seed}; in brackets: 95 % intervals over users."
    )


def _described(name: str, modality: Modality) -> dict[str, str]:
    found = modality.geometry
    equal = found.duplicates
    alike = f" (at most {equal.exact_group:,} alike)" if equal.exact else ""
    collapsed = MISSING if found.collapsed is None else f"{found.collapsed} of {found.dim}"
    return {
        "": name,
        "items with features": f"{found.present:,} ({_percent(found.coverage_items)})",
        "their share of interactions": _percent(found.coverage_interactions),
        "users asked": f"{modality.matched.users:,}",
        "rows not of length 1": _percent(found.norms_off),
        "items with equal rows": f"{equal.exact:,}{alike}",
        f"cosine above {NEAR_COSINE}": f"{_percent(equal.near)} of {equal.near_asked:,}",
        "dimensions that stand still": collapsed,
        "effective rank": f"{in_digits(found.effective_rank, 1)} of {found.dim}",
        "rows it was taken from": f"{found.covariance_rows:,}",
        "cosine of random pairs": in_digits(found.mean_cosine, 3),
    }


def _signal_rows(name: str, modality: Modality) -> Iterator[tuple[str, ...]]:
    yield from _lift_rows(f"{name}, any", modality.random)
    yield from _lift_rows(f"{name}, same popularity", modality.matched)


def _lift_rows(label: str, lift: Lift) -> Iterator[tuple[str, ...]]:
    yield label, *_lift_cells(lift.lift, lift.spread, lift.auc)
    shuffled = _lift_cells(lift.shuffled_lift, lift.spread, lift.shuffled_auc)
    yield "  rows shuffled", *shuffled


def _lift_cells(lift: Interval | None, spread: float, auc: Interval | None) -> tuple[str, str, str]:
    raw = MISSING if lift is None else _rounded(lift.mean, 4)
    in_spreads = lift.over(spread) if lift is not None and spread else None
    return raw, _interval(in_spreads, 2), _interval(auc, 3)


def _compared(pair: Overlap) -> dict[str, str]:
    return {
        "": f"{pair.first} + {pair.second}",
        "items with both": f"{pair.items:,}",
        "linear CKA (rows shuffled)": f"{in_digits(pair.cka, 3)} "
        f"({in_digits(pair.cka_shuffled, 3)})",
        f"{NEIGHBOURS} nearest shared (by chance)": f"{_percent(pair.neighbours)} "
        f"({_percent(pair.neighbours_chance)})",
        "AUC, same popularity, of each": f"{in_digits(pair.auc_first, 3)}, "
        f"{in_digits(pair.auc_second, 3)}",
        "of their average": in_digits(pair.auc_average, 3),
        "less the better one": _interval(pair.average_gain, 3),
        "of their weighted sum": in_digits(pair.auc_weighted, 3),
        "less the better one ": _interval(pair.weighted_gain, 3),
    }


def _columns(title: str, columns: list[dict[str, str]], *, beside: int) -> Iterator[Table]:
    """Tables of at most `beside` columns that share their labels; the label "" is the header."""
    for start in range(0, len(columns), beside):
        part = columns[start : start + beside]
        table = _table(title, ("", *(column[""] for column in part)))
        for label in part[0]:
            if label:
                table.add_row(label, *(Text(column[label]) for column in part))
        yield table


def _table(title: str, headers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1))
    for place, header in enumerate(headers):
        table.add_column(Text(header), justify="right" if place else "left", no_wrap=place > 0)
    return table


def _interval(value: Interval | None, digits: int) -> str:
    if value is None:
        return MISSING
    mean, low, high = (_rounded(part, digits) for part in (value.mean, value.low, value.high))
    return f"{mean} [{low}, {high}]"


def _rounded(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no minus before a zero


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{share:.1%}"
