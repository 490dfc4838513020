"""The server app's word about itself, as others read it."""

from __future__ import annotations

import errno
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from fedrec.data.atomic import write_json
from fedrec.errors import FedrecError
from fedrec.monitoring.run_state import RunState, read_state
from fedrec.processes import this_process
from server import status_file
from server.status_file import StatusWriter, note_end

DEAD = replace(this_process(), boot="an earlier start of this machine")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "status.json"


def test_running_with_what_is_done_then_finished_with_nothing_to_do(path: Path) -> None:
    writer = StatusWriter(path)
    with writer.kept():
        assert read_state(path).state == "running"
        writer.doing("training on 3 nodes", "backbone", 13)
        state = read_state(path)
        assert state.state == "running" and state.process == this_process()
        assert (state.doing, state.stage, state.round) == ("training on 3 nodes", "backbone", 13)
        assert 0 < state.began <= state.since
    assert replace(read_state(path), since=0.0) == RunState(
        state="finished", began=state.began, process=this_process()
    )
    assert [file.name for file in path.parent.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    ("error", "state", "told"),
    [
        (FedrecError("too few nodes"), "failed", "too few nodes"),
        (ValueError(), "failed", "ValueError"),
        (KeyboardInterrupt(), "stopped", "KeyboardInterrupt"),
        (SystemExit(143), "stopped", "SystemExit"),
    ],
)
def test_what_was_done_when_it_ended_stays(
    path: Path, error: BaseException, state: str, told: str
) -> None:
    writer = StatusWriter(path)
    with pytest.raises(type(error)), writer.kept():
        writer.doing("validating on 3 nodes", "backbone", 13)
        raise error
    found = read_state(path)
    assert (found.state, found.error, found.round) == (state, told, 13)


def test_a_disk_that_takes_nothing_ends_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        StatusWriter(tmp_path / "gone" / "status.json").doing("training on 3 nodes")
    assert "status.json is out of date: No such file" in caplog.text


@pytest.fixture
def full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(path, RunState(state="running", process=DEAD).as_json())

    def no_room(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(status_file, "write_json", no_room)


@pytest.mark.usefixtures("full_disk")
def test_a_disk_that_is_full_from_the_start_is_told(path: Path) -> None:
    with pytest.raises(FedrecError, match=r"No space left .* --resume"), StatusWriter(path).kept():
        raise AssertionError("the run began")


@pytest.mark.usefixtures("full_disk")
def test_a_launcher_that_cannot_write_how_the_run_ended_ends_too(path: Path) -> None:
    note_end(path, "stopped", "stopped by Ctrl-C")
    assert read_state(path).state == "killed"


@pytest.mark.parametrize("process", [this_process(), DEAD])
def test_a_launcher_speaks_for_an_app_that_it_has_killed(path: Path, process: object) -> None:
    said = RunState(state="running", doing="training", round=3, process=process)  # type: ignore[arg-type]
    write_json(path, said.as_json())
    note_end(path, "stopped", "stopped by Ctrl-C")
    assert read_state(path) == replace(said, state="stopped", error="stopped by Ctrl-C")


@pytest.mark.parametrize("state", ["finished", "failed"])
def test_what_the_app_has_said_of_its_end_stays(path: Path, state: str) -> None:
    said = RunState(state=state, error="its own word", process=DEAD)
    write_json(path, said.as_json())
    note_end(path, "stopped", "stopped by Ctrl-C")
    assert read_state(path) == said


def test_nothing_is_said_for_an_app_that_never_began(path: Path) -> None:
    note_end(path, "stopped", "stopped by Ctrl-C")
    assert not path.exists()
