"""A SuperLink that does not come up, with programs in its place that end as they are told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedrec.errors import ConfigError
from fedrec.processes import Processes, free_port
from fedrec.report import Live
from server import launch as launching
from server.launch import Launch, launch
from server.launch_superlink import NotStarted, SuperLink
from server.launch_watch import Outcome


@pytest.fixture
def superlink(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The code that runs as a SuperLink."""
    code = ["import time; time.sleep(60)"]

    def start(processes: Processes, *, log: Any, environment: Any, **_: object) -> SuperLink:
        words = [sys.executable, "-S", "-c", code[0]]
        process = processes.start(words, environment=environment, log=log)
        return SuperLink(address=f"127.0.0.1:{free_port()}", process=process)

    monkeypatch.setattr(launching, "start_superlink", start)
    return code


def launched(out: Path) -> Outcome:
    with (out / "flower.log").open("ab") as log:
        request = Launch(write_app=lambda folder: folder, out=out, log=log, simulated_nodes=2)
        return launch(request, Live(Console(), "starting"))


def test_a_superlink_that_does_not_come_up_is_as_one_that_was_killed(
    superlink: list[str], tmp_path: Path
) -> None:
    """So that it is tried again, here and by systemd, which leaves exit code 2 alone."""
    superlink[0] = "raise SystemExit(3)"
    found = launched(tmp_path)
    assert found == Outcome(error="the SuperLink ended with code 3", killed=True)


def test_one_that_never_answers_is_too(
    superlink: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.launch_superlink.START_TIMEOUT_S", 0.2)
    found = launched(tmp_path)
    assert found == Outcome(error="the SuperLink did not answer within 0 s", killed=True)


@pytest.mark.parametrize("fault", [NotStarted("the SuperLink refused the run"), ConfigError("x")])
def test_a_run_that_is_refused_is_tried_again_but_not_a_mistake(
    superlink: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def submit(*_: object) -> int:
        raise fault

    monkeypatch.setattr(SuperLink, "wait_until_ready", lambda self: None)
    monkeypatch.setattr("server.launch_control.Control.submit", submit)
    if isinstance(fault, ConfigError):
        with pytest.raises(ConfigError):
            launched(tmp_path)
    else:
        assert launched(tmp_path) == Outcome(error=str(fault), killed=True)


def test_the_connection_is_closed_when_nobody_reads_from_it(
    superlink: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread copies the log until the SuperLink is gone, which is after the run's end."""
    happened: list[str] = []

    def logs(control: object, run_id: int) -> Iterator[str]:
        while started[0].poll() is None:
            time.sleep(0.01)
        time.sleep(0.1)
        happened.append("the log has ended")
        yield from ()

    def submit(*_: object) -> int:
        (tmp_path / "status.json").write_text('{"state": "finished"}')
        return 7

    started: list[subprocess.Popen[bytes]] = []
    control = "server.launch_control.Control"
    monkeypatch.setattr(SuperLink, "wait_until_ready", lambda self: started.append(self.process))
    monkeypatch.setattr(f"{control}.submit", submit)
    monkeypatch.setattr(f"{control}.logs", logs)
    monkeypatch.setattr(f"{control}.close", lambda self: happened.append("closed"))
    assert launched(tmp_path) == Outcome(error=None)
    assert happened == ["the log has ended", "closed"]
