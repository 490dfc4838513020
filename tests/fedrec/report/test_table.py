"""The final table and the sentences under it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedrec.errors import DataError
from fedrec.report import print_results
from fedrec.report.comparisons import comparison_sentence
from fedrec.report.table import results_table


def metrics(value: float) -> dict[str, dict[str, float]]:
    values = {"hr@10": value, "ndcg@10": value / 2}
    return {"full": values, "sampled100": {key: 2 * each for key, each in values.items()}}


COMPARISON: dict[str, Any] = {
    "of": "routing",
    "against": "backbone",
    "split": "validation",
    "metric": "full/ndcg@10",
    "difference": 0.0123,
    "low": 0.01,
    "high": 0.015,
    "p": 0.0001,
}
RESULTS: dict[str, Any] = {
    "stages": {"backbone": {"test": metrics(0.2), "validation": metrics(0.3)}},
    "baselines": {"random": {"test": metrics(0.1), "validation": metrics(0.1)}},
    "comparisons": [COMPARISON],
}


def rendered(renderable: Any) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_baselines_come_before_stages() -> None:
    table = results_table(RESULTS)
    assert list(table.columns[0].cells) == ["random", "backbone"]


def test_columns() -> None:
    table = results_table(RESULTS)
    assert [str(column.header) for column in table.columns] == [
        "",
        "s100 HR@10",
        "s100 NDCG@10",
        "full HR@10",
        "full NDCG@10",
        "validation full NDCG@10",
    ]
    rows = [line.split("│")[1:-1] for line in rendered(table).splitlines() if "│" in line]
    assert [cell.strip() for cell in rows[-1]] == [
        "backbone",
        "0.4000",
        "0.2000",
        "0.2000",
        "0.1000",
        "0.1500",
    ]


def test_the_best_of_a_column_is_bold() -> None:
    table = results_table(RESULTS)
    assert list(table.columns[1].cells) == ["0.2000", "[bold]0.4000[/bold]"]


def test_a_stage_without_a_test_has_dashes() -> None:
    table = results_table({"stages": {"backbone": {"validation": metrics(0.2)}}})
    assert list(table.columns[1].cells) == ["-"]


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [
        (0.01, 0.015, 0.0001, "p < 0.001: better."),
        (-0.2, -0.1, 0.02, "p = 0.020: worse."),
        (-0.1, 0.1, 0.4, "p = 0.400: no difference shown."),
    ],
)
def test_comparison(low: float, high: float, p: float, words: str) -> None:
    sentence = comparison_sentence({**COMPARISON, "low": low, "high": high, "p": p})
    assert sentence == (
        f"routing against backbone: +0.0123 full NDCG@10 on validation, "
        f"95% interval {low:+.4f} to {high:+.4f}, {words}"
    )


def test_the_end_says_where_things_are(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    console = Console(file=io.StringIO(), width=120)
    print_results(tmp_path, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.index("backbone") < text.index("routing against")
    assert text.endswith(
        f"The run is in {tmp_path}.\nEvaluate it again: fedrec evaluate {tmp_path}\n"
    )


def test_a_run_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results\.json: cannot be read"):
        print_results(tmp_path, Console(file=io.StringIO()))


def test_cold_columns_stand_first_where_they_were_measured() -> None:
    stages = {"backbone": {"test": {**metrics(0.2), "cold": {"hr@10": 0.25, "ndcg@10": 0.125}}}}
    table = results_table({**RESULTS, "stages": stages})
    headers = [str(column.header) for column in table.columns]
    assert headers[:4] == ["", "cold HR@10", "cold NDCG@10", "s100 HR@10"] and len(headers) == 8
    assert list(table.columns[1].cells) == ["-", "[bold]0.2500[/bold]"]
    assert list(table.columns[2].cells) == ["-", "[bold]0.1250[/bold]"]
