"""When a stage's validation reached its target, and what it had cost by then."""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from types import SimpleNamespace
from typing import Any

import pytest

import time_to_quality


def line(stage: str, number: int, ndcg: float | None) -> dict[str, Any]:
    validation = None if ndcg is None else {"full": {"ndcg@10": ndcg}}
    about = {"stage": stage, "round": number, "validation": validation}
    return {**about, "bytes_up": 10, "bytes_down": 20, "users": 4}


class Recorded:
    """A run whose lines come in these portions; then it ends."""

    def __init__(self, *portions: list[dict[str, Any]]) -> None:
        self.portions, self.began = list(portions), time.monotonic() - 5.0
        self.process = SimpleNamespace(poll=lambda: None if self.portions else 0)

    def read(self) -> list[dict[str, Any]]:
        return self.portions.pop(0) if self.portions else []

    def wait(self) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def no_pause(monkeypatch) -> None:
    monkeypatch.setattr(time_to_quality, "POLL_S", 0.0)


def test_a_target_counts_everything_before_it() -> None:
    first = [line("backbone", 1, None), line("backbone", 2, 0.02)]
    second = [line("alignment", 1, 0.04), line("alignment", 2, 0.06)]
    run = Recorded(first, second, [line("alignment", 3, 0.07)])
    found = time_to_quality.follow(run, {"alignment": 0.05, "backbone": 0.01})
    assert found["backbone"]["reached"]["users"] == 8
    reached = found["alignment"]["reached"]
    assert (reached["round"], reached["value"]) == (2, 0.06)
    assert (reached["bytes_up"], reached["bytes_down"], reached["users"]) == (40, 80, 16)
    assert reached["seconds"] >= 5.0
    assert run.portions, "nothing is read after the last target"


def test_a_target_that_is_missed_ends_with_the_run() -> None:
    run = Recorded([line("backbone", 1, 0.02)], [line("backbone", 2, 0.01)])
    found = time_to_quality.follow(run, {"backbone": 0.5})
    assert found["backbone"] == {"target": 0.5, "reached": None, "best": 0.02}
    assert "| backbone | 0.5 | no | 0.0200 |" in time_to_quality.report(["default"], found)


def test_targets_are_named_by_stage() -> None:
    assert time_to_quality.target("routing=.12") == ("routing", 0.12)
    with pytest.raises(ArgumentTypeError, match="no stage"):
        time_to_quality.target("fusion=.12")
