"""What status.json tells, and whether it still holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedrec.monitoring.run_state import NOT_STARTED, RunState, read_state
from fedrec.processes import this_process

STATE = RunState(
    state="running",
    doing="training on 3 nodes",
    stage="backbone",
    round=13,
    since=5.5,
    began=2.0,
    process=this_process(),
)


def read(tmp_path: Path, content: object) -> RunState:
    path = tmp_path / "status.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_state(path)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, STATE.as_json()) == STATE


def test_running_without_its_process_is_killed(tmp_path: Path) -> None:
    gone = replace(STATE, process=replace(this_process(), boot="an earlier start"))
    assert read(tmp_path, gone.as_json()) == replace(gone, state="killed")


def test_running_elsewhere_cannot_be_seen(tmp_path: Path) -> None:
    away = replace(STATE, process=replace(this_process(), host="elsewhere.invalid"))
    assert read(tmp_path, away.as_json()).state == "unreachable"


@pytest.mark.parametrize("state", ["finished", "failed", "stopped"])
def test_an_end_is_an_end_whatever_became_of_the_process(tmp_path: Path, state: str) -> None:
    over = replace(STATE, state=state, error="why", process=replace(this_process(), boot="before"))
    assert read(tmp_path, over.as_json()) == over


def test_a_status_of_an_earlier_version_has_no_process(tmp_path: Path) -> None:
    old = read(tmp_path, {"state": "running", "error": None, "pid": 1})
    assert old == RunState(state="running")


@pytest.mark.parametrize(
    "content", ["", '{"state": "run', "[]", "3", '{"state": "asleep"}', "[" * 100_000]
)
def test_a_damaged_file_tells_nothing(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == NOT_STARTED
    assert read_state(tmp_path / "none") == NOT_STARTED
    assert read_state(tmp_path) == NOT_STARTED


@pytest.mark.parametrize(
    "wrong", [{"round": "13"}, {"round": True}, {"since": "now"}, {"doing": ["a"]}, {"pid": -3.5}]
)
def test_values_of_another_type_are_left_out(tmp_path: Path, wrong: dict[str, Any]) -> None:
    found = read(tmp_path, {**STATE.as_json(), **wrong})
    assert found.state == "running"
    ((name, value),) = wrong.items()
    if name == "pid":
        assert found.process is None
    else:
        assert getattr(found, name) in (None, 0.0) and value
