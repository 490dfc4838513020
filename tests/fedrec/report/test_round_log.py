"""Rounds as log lines."""

import logging

import pytest

from fedrec.report import RoundLog


def test_a_round_and_its_warnings_know_their_stage_and_round(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with RoundLog("waiting") as log:
        log.show({"stage": "routing", "round": 4, "rounds": 9, "warnings": ["gate is stuck"]})
    first, warning, line = caplog.records
    assert first.getMessage() == "waiting"
    assert (warning.levelno, warning.getMessage()) == (logging.WARNING, "gate is stuck")
    assert line.getMessage().startswith("routing 4/9")
    assert {(vars(one)["stage"], vars(one)["round"]) for one in (warning, line)} == {("routing", 4)}
