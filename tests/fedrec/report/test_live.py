"""Which rounds are printed, where."""

import io
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from fedrec.report import Live


def record(number: int, **extra: Any) -> dict[str, Any]:
    return {"stage": "backbone", "round": number, "rounds": 9, "loss": 1.0, **extra}


def shown(records: list[dict[str, Any]], seconds: Iterator[float], terminal: bool = False) -> str:
    output = io.StringIO()
    console = Console(file=output, width=200, force_terminal=terminal, legacy_windows=False)
    with Live(console, "starting", clock=lambda: next(seconds)) as live:
        for item in records:
            live.show(item)
    return output.getvalue()


def test_a_file_gets_a_line_every_two_seconds() -> None:
    times = iter([0.0, 0.0, 1.0, 2.5, 2.5, 3.0])
    text = shown([record(1), record(2), record(3), record(4)], times)
    assert [line.split("  ")[0] for line in text.splitlines()] == [
        "starting",
        "backbone 1/9",
        "backbone 3/9",
    ]


def test_validations_and_warnings_are_always_printed() -> None:
    times = iter([0.0] * 9)
    validation = {"full": {"ndcg@10": 0.25}}
    rounds = [record(1), record(2, validation=validation), record(3, warnings=["gate is stuck"])]
    lines = shown(rounds, times).splitlines()
    assert "backbone 2/9" in lines[2] and "0.2500" in lines[2]
    assert lines[3] == "warning: gate is stuck"
    assert len(lines) == 4


def test_the_newest_validation_stays_until_the_stage_ends() -> None:
    times = iter([float(second) for second in range(0, 99, 3)])
    rounds = [
        record(1, validation={"full": {"ndcg@10": 0.25}}),
        record(2),
        {**record(1), "stage": "alignment"},
    ]
    lines = shown(rounds, times).splitlines()
    assert "val NDCG@10 0.2500" in lines[2]
    assert "val NDCG@10 -" in lines[3]


def test_a_terminal_keeps_only_the_validations() -> None:
    times = iter([float(second) for second in range(0, 99, 3)])
    rounds = [record(1), record(2, validation={"full": {"ndcg@10": 0.25}})]
    text = shown(rounds, times, terminal=True)
    assert "backbone 2/9" in text
    assert "backbone 1/9  loss 1.0000  val NDCG@10 -\n" not in text


def test_square_brackets_are_text() -> None:
    text = shown([record(1, warnings=["[bold]x"])], iter([0.0] * 9))
    assert "warning: [bold]x" in text
