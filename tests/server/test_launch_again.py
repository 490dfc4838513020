"""A run whose processes were killed is begun again, from its last state, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest

from fedrec.config import Config, from_flat
from fedrec.data.atomic import write_json
from fedrec.monitoring.run_state import RunState
from fedrec.processes import this_process
from server import launch_watch
from server.launch_again import launch_again
from server.launch_status import StatusFile
from server.launch_watch import Outcome

KILLED = Outcome(error="the SuperLink ended with code -9", killed=True)
FAILED = Outcome(error="3 rounds in a row failed")
DONE = Outcome(error=None)
RUNNING: Any = SimpleNamespace(process=SimpleNamespace(poll=lambda: None))


class Launcher:
    """Ends as it is told, after so many rounds each time; notes whether it was to resume."""

    def __init__(self, out: Path, *ends: tuple[Outcome, int]) -> None:
        self.out, self.ends, self.resumed = out, list(ends), list[bool]()

    def __call__(self, config: Config) -> Outcome:
        self.resumed.append(config.run.resume)
        (self.out / "config.toml").touch()
        outcome, rounds = self.ends.pop(0)
        with (self.out / "metrics.jsonl").open("a") as stream:
            stream.write("{}\n" * rounds)
        return outcome


def again(
    launcher: Launcher, restarts: int = 2, say: Callable[[str], None] = lambda text: None
) -> Outcome:
    return launch_again(from_flat({"run.out": str(launcher.out)}), launcher, restarts, say)


def test_a_killed_run_goes_on_from_its_last_state(tmp_path: Path) -> None:
    launcher, said = Launcher(tmp_path, (KILLED, 2), (DONE, 3)), list[str]()

    assert again(launcher, say=said.append) == DONE
    assert launcher.resumed == [False, True]
    assert said == ["the SuperLink ended with code -9: starting again from the last saved state"]


def test_a_run_that_fails_by_its_own_word_is_not_begun_again(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path, (FAILED, 2))

    assert again(launcher) == FAILED
    assert launcher.resumed == [False]


def test_a_run_that_is_killed_without_a_round_in_between_is_given_up(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path, (KILLED, 0), (KILLED, 0), (KILLED, 0))

    assert again(launcher) == KILLED
    assert len(launcher.resumed) == 3


def test_rounds_in_between_give_new_credit(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path, *[(KILLED, 1)] * 6, (DONE, 1))

    assert again(launcher, restarts=1) == DONE


def test_a_simulation_is_not_begun_again(tmp_path: Path) -> None:
    assert again(Launcher(tmp_path, (KILLED, 2)), restarts=0) == KILLED


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_an_app_that_ended_without_a_word_is_noticed(tmp_path: Path) -> None:
    """Also where another process has its number since."""
    file, here = tmp_path / "status.json", this_process()
    status = StatusFile(file)
    for process, state in ((here, "running"), (replace(here, started=here.started - 1), "killed")):
        write_json(file, RunState(state="running", process=process).as_json())
        said = status.read()
        assert said is not None and said.state == state
    outcome = launch_watch._outcome(1, ANY, RUNNING, status, ANY)
    assert outcome == Outcome(error="the server app ended without a word", killed=True)
    write_json(file, RunState(state="finished", process=here).as_json())
    assert launch_watch._outcome(1, ANY, RUNNING, status, ANY) == DONE
