"""The final table of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from fedrec.report.round_line import metric
from fedrec.report.units import in_digits

Column = tuple[str, str, str]
COLUMNS: tuple[Column, ...] = (
    ("s100 HR@10", "test", "sampled100/hr@10"),
    ("s100 NDCG@10", "test", "sampled100/ndcg@10"),
    ("full HR@10", "test", "full/hr@10"),
    ("full NDCG@10", "test", "full/ndcg@10"),
    ("validation full NDCG@10", "validation", "full/ndcg@10"),
)
"""Header, split and metric. The test metrics come first."""
COLD_COLUMNS: tuple[Column, ...] = (
    ("cold HR@10", "test", "cold/hr@10"),
    ("cold NDCG@10", "test", "cold/ndcg@10"),
)
"""Shown before the others where a run has them."""


def results_table(results: Mapping[str, Any]) -> Table:
    """Baselines first, then the stages, in the order of results.json; the best of each column bold.

    full: rank among all items that the user has not met. s100: among 100 sampled ones. cold: among
    the new items alone, which nobody trained on.
    """
    entries = list(_entries(results))
    columns = _columns(entries)
    rows = [(name, _values(entry, columns)) for name, entry in entries]
    table = Table(title="Test, and validation in the last column", title_justify="left")
    table.add_column("")
    for header, _, _ in columns:
        table.add_column(header, justify="right")
    best = _best([values for _, values in rows])
    for name, values in rows:
        table.add_row(name, *(_cell(value, best[i]) for i, value in enumerate(values)))
    return table


def _entries(results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from (results.get("baselines") or {}).items()
    yield from (results.get("stages") or {}).items()


def _columns(entries: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Column, ...]:
    measured = any(value is not None for _, one in entries for value in _values(one, COLD_COLUMNS))
    return (*COLD_COLUMNS, *COLUMNS) if measured else COLUMNS


def _values(entry: Mapping[str, Any], columns: Sequence[Column]) -> list[float | None]:
    return [metric(entry.get(split), name) for _, split, name in columns]


def _best(rows: list[list[float | None]]) -> list[float | None]:
    return [
        max((value for row in rows if (value := row[column]) is not None), default=None)
        for column in range(len(rows[0]) if rows else 0)
    ]


def _cell(value: float | None, best: float | None) -> str:
    text = in_digits(value)
    return f"[bold]{text}[/bold]" if value is not None and value == best else text
