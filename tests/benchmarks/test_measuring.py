"""Turns, spreads and ratios; numbers by hand."""

from __future__ import annotations

import json
import time

import pytest

import measuring


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    spread = measuring.Spread.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (spread.median, spread.low, spread.high) == (3.0, 2.0, 4.0)
    assert spread.values == (5.0, 1.0, 2.0, 4.0, 3.0)
    assert spread.text(1) == "3.0 [2.0, 4.0]"


def test_a_spread_of_one_value_is_that_value() -> None:
    assert measuring.Spread.of([7.0]).text() == "7 [7, 7]"


def test_everybody_takes_every_turn_and_the_order_changes() -> None:
    calls: list[tuple[str, int]] = []
    parties = {name: lambda turn, name=name: calls.append((name, turn)) for name in "ab"}
    seconds = measuring.in_turns(parties, 2)
    warm_up = [("a", 0), ("b", 0)]
    assert calls == [*warm_up, ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2}


def test_seconds_are_those_of_the_call() -> None:
    seconds = measuring.in_turns({"sleeps": lambda turn: time.sleep(0.02)}, 1)
    assert 0.02 <= seconds["sleeps"][0] < 1.0


def test_ratios_are_taken_within_a_turn() -> None:
    assert measuring.ratios([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]).values == (2.0, 3.0, 4.0)
    with pytest.raises(ValueError):
        measuring.ratios([1.0], [1.0, 2.0])


def test_rates_are_work_by_time() -> None:
    assert measuring.rates(12, [2.0, 3.0, 4.0]).values == (6.0, 4.0, 3.0)


def test_a_table_is_markdown() -> None:
    text = measuring.table(["stage", "s"], [["backbone", 1.5]])
    assert text == "| stage | s |\n| --- | --- |\n| backbone | 1.5 |"


def test_what_is_published_says_under_what_conditions(tmp_path, capsys) -> None:
    path = tmp_path / "out.json"
    spread = measuring.Spread.of([1.0, 2.0, 3.0])
    measuring.publish(path, measuring.conditions(), {"rate": spread}, "the table")
    written = json.loads(path.read_text())
    assert written["rate"] == {"median": 2.0, "low": 1.5, "high": 2.5, "values": [1.0, 2.0, 3.0]}
    assert written["conditions"]["versions"].keys() >= {"torch", "flwr", "numpy", "fedrec"}
    assert written["conditions"]["cores"] >= 1
    printed = capsys.readouterr().out
    assert "the table" in printed and "torch" in printed
