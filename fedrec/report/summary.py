"""The end of a run on the console."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fedrec.errors import DataError
from fedrec.report.comparisons import comparison_sentence
from fedrec.report.table import results_table


def print_results(out: Path, console: Console) -> None:
    """Print the table and comparisons of OUT/results.json, where things are, what to do next."""
    path = out / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not isinstance(results, dict):
        raise DataError(f"{path}: holds a {type(results).__name__}, expected an object")
    console.print(results_table(results))
    for comparison in results.get("comparisons") or ():
        console.print(Text(comparison_sentence(comparison)), soft_wrap=True)
    console.print(Text(f"The run is in {out}."), soft_wrap=True)
    console.print(Text(f"Evaluate it again: fedrec evaluate {out}"), soft_wrap=True)
