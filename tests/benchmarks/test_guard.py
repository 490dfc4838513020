"""A ratio fails only when every attempt falls below its bound."""

from __future__ import annotations

import json
import sys
import time

import pytest

import guard


def check(ours_s: float, other_s: float) -> guard.Check:
    return guard.Check(
        "backbone",
        "no federation",
        lambda n: time.sleep(ours_s),
        lambda n: time.sleep(other_s),
    )


def test_a_ratio_is_how_many_times_as_fast_ours_is() -> None:
    assert 2.0 < check(0.01, 0.1).ratio() < 12.0


def test_the_first_attempt_that_passes_ends_the_trial() -> None:
    tried: list[int] = []
    slow = [0.2] * (guard.TURNS + 1)  # one attempt, its warm-up included

    def ours(number: int) -> None:
        tried.append(number)
        time.sleep(slow.pop() if slow else 0.0)

    one = guard.Check("backbone", "no federation", ours, lambda n: time.sleep(0.005))
    assert one.ratio() >= one.bound
    assert len(tried) == 2 * (guard.TURNS + 1)


def test_what_is_too_slow_ends_with_code_1_and_says_what(
    monkeypatch, toy_data, tmp_path, capsys
) -> None:
    monkeypatch.setattr(guard, "checks", lambda data, stage: [check(0.01, 0.0)])
    out = tmp_path / "guard.json"
    monkeypatch.setattr(sys, "argv", ["guard.py", str(toy_data.path), "--json", str(out)])
    with pytest.raises(SystemExit) as ended:
        guard.main()
    assert ended.value.code == 1
    assert "too slow: stage backbone is 0.0" in capsys.readouterr().err
    assert json.loads(out.read_text())["checks"][0]["bound"] == 0.35
