"""The server app's word about itself, but only about this run."""

import json
import os
from pathlib import Path

from fedrec.monitoring.run_state import RunState
from server.launch_status import StatusFile


def write(path: Path, state: str, error: str | None = None) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"state": state, "error": error, "pid": 1}))
    os.replace(new, path)


def test_nothing_is_said_at_first(tmp_path: Path) -> None:
    assert StatusFile(tmp_path / "status.json").read() is None


def test_what_an_earlier_run_said_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write(path, "finished")
    status = StatusFile(path)
    assert status.read() is None
    write(path, "failed", "no users")
    assert status.read() == RunState(state="failed", error="no users")


def test_half_a_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    status = StatusFile(path)
    path.write_text('{"state": "fin')
    assert status.read() is None
