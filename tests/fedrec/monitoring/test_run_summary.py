"""What a running or dead run was doing, from small folders of real lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fedrec.errors import DataError
from fedrec.monitoring.command import status_command
from fedrec.monitoring.run_state import RunState
from fedrec.monitoring.run_summary import LastRound, RunSummary, Validation, summarize
from fedrec.monitoring.summary_text import summary_text
from fedrec.processes import this_process
from tests.fedrec.monitoring.conftest import ENDED, ROUNDS

Folder = Callable[..., Path]
NOW = ENDED + 75.0
DEAD = replace(this_process(), boot="an earlier start of this machine", pid=4242)
TRAINING = RunState(
    state="running",
    doing="training on 3 nodes",
    stage="alignment",
    round=3,
    since=ENDED + 1.0,
    process=this_process(),
)


def seen(out: Path) -> RunSummary:
    return summarize(out, clock=lambda: NOW)


def test_a_run_that_is_running(run_folder: Folder) -> None:
    summary = seen(run_folder(ROUNDS, TRAINING.as_json()))
    assert (summary.state, summary.doing) == ("running", "training on 3 nodes")
    assert (summary.stage, summary.round) == ("alignment", 3)
    assert summary.last_round == LastRound(
        stage="alignment", round=2, rounds=9, seconds=700.0, ended_at=ENDED, age_s=75.0, loss=3.0,
        users=20, asked=3, answered=3, refused=[], silent=[],
    )  # fmt: skip
    assert summary.remaining_s == 90.0
    assert (summary.rounds_done, summary.failed_rounds) == (6, 1)
    assert (summary.refused, summary.unanswered) == (4, 1)
    assert (summary.bytes_up, summary.bytes_down) == (600, 1200)
    assert summary.warnings == [
        "backbone 3: node 12 refused: not finite",
        "backbone 3: 1 of 3 nodes did not answer in time: [15]",
        "alignment 2: slow",
    ]
    assert summary.next is None
    assert summary.alive_or_done


def test_the_newest_and_the_best_validation_of_the_stage(run_folder: Folder) -> None:
    summary = seen(run_folder(ROUNDS[:4], TRAINING.as_json()))
    assert summary.validation == Validation(round=4, ndcg=0.125)
    assert summary.best == Validation(round=2, ndcg=0.25)
    assert summary.remaining_s is None  # of the stage that has begun, nobody knows yet


def test_text_of_a_killed_run(run_folder: Folder) -> None:
    killed = replace(TRAINING, process=DEAD, stage="backbone", round=4)
    out = run_folder(ROUNDS[:3], killed.as_json())
    assert summary_text(seen(out), NOW).splitlines() == [
        f"{out}: killed (it says running, but process 4242 is gone)",
        "  was doing   stage backbone, round 4: training on 3 nodes, since "
        "2027-01-15T08:00:01.000Z (1 min 14 s ago)",
        "  last round  backbone 3 of 9, took 4.0 s, 20 users, loss 2.0000, ended "
        "2027-01-15T07:59:00.000Z (2 min 15 s ago)",
        "  validation  NDCG@10 0.2500 in round 2, best 0.2500 in round 2",
        "  its nodes   1 of 3 answers fit; refused: 12; silent: 15",
        "  whole run   3 rounds (0 changed nothing), 1 answers refused, 1 missing, "
        "up 300 B, down 600 B",
        "  warning     backbone 3: node 12 refused: not finite",
        "  warning     backbone 3: 1 of 3 nodes did not answer in time: [15]",
        f"  next        go on with the command that started it (fedrec run or server), "
        f"--resume out={out}",
    ]


def test_a_failed_run_says_why(run_folder: Folder) -> None:
    failed = replace(TRAINING, state="failed", error="all nodes\x1b[2J are gone", process=DEAD)
    text = summary_text(seen(run_folder(ROUNDS, failed.as_json())), NOW)
    assert r"  why         all nodes\x1b[2J are gone" in text.splitlines()


def test_a_last_line_that_a_kill_cut_short_is_as_if_it_were_not_there(run_folder: Folder) -> None:
    out = run_folder(ROUNDS[:2], TRAINING.as_json())
    whole = seen(out)
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(ROUNDS[2])[:60])
    assert seen(out) == whole


def test_damaged_lines_are_counted_and_the_others_told(run_folder: Folder) -> None:
    out = run_folder(ROUNDS[:1], TRAINING.as_json())
    with (out / "metrics.jsonl").open("ab") as file:
        file.write(b"\xff\xff\n{}\n" + json.dumps(ROUNDS[1]).encode() + b"\n")
    summary = seen(out)
    assert (summary.unreadable, summary.rounds_done) == (2, 2)
    assert "2 lines of metrics.jsonl cannot be read" in summary_text(summary, NOW)


def test_lines_of_an_earlier_version_lack_some_values(run_folder: Folder) -> None:
    old = [{"stage": "backbone", "round": 1, "rounds": 9, "loss": 1.0, "seconds": 2.0}]
    summary = seen(run_folder(old, {"state": "running", "error": None, "pid": 1}))
    assert summary.last_round is not None and summary.last_round.age_s is None
    assert "took 2.0 s" in summary_text(summary, NOW)


@pytest.mark.parametrize("missing", ["status.json", "metrics.jsonl"])
def test_what_is_missing_is_left_out(run_folder: Folder, missing: str) -> None:
    out = run_folder(ROUNDS, TRAINING.as_json())
    (out / missing).unlink()
    summary = seen(out)
    assert (summary.state == "not started") == (missing == "status.json")
    assert (summary.last_round is None) == (missing == "metrics.jsonl")
    assert summary_text(summary, NOW)


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="holds no run"):
        summarize(tmp_path / name)


def test_a_folder_that_moved_is_told_from_its_own_files(run_folder: Folder, tmp_path: Path) -> None:
    out = run_folder(ROUNDS, replace(TRAINING, state="finished").as_json())
    out.rename(tmp_path / "moved")
    summary = seen(tmp_path / "moved")
    assert (summary.state, summary.rounds_done) == ("finished", 6)
    assert summary.next == f"fedrec evaluate {tmp_path / 'moved'}"


@pytest.fixture(scope="module")
def command() -> typer.Typer:
    single = typer.Typer(add_completion=False)
    single.command("status")(status_command)
    return single


@pytest.mark.parametrize(
    ("state", "process", "code"),
    [
        ("running", this_process(), 0),
        ("running", replace(this_process(), host="elsewhere.invalid"), 0),
        ("finished", DEAD, 0),
        ("running", DEAD, 1),
        ("failed", DEAD, 1),
        ("stopped", DEAD, 1),
    ],
)
def test_the_exit_code_says_whether_somebody_must_do_something(
    run_folder: Folder, command: typer.Typer, state: str, process: Any, code: int
) -> None:
    out = run_folder(ROUNDS, replace(TRAINING, state=state, process=process).as_json())
    result = CliRunner().invoke(command, [str(out), "--json"])
    assert result.exit_code == code, result.output
    assert json.loads(result.output)["state"] == seen(out).state


WRITER = """
import sys, time
from pathlib import Path
from server.status_file import StatusWriter
out = Path(sys.argv[1])
out.mkdir()
writer = StatusWriter(out / "status.json")
with writer.kept():
    writer.doing("training on 3 nodes", "backbone", 7)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("number", "state", "before"),
    [(signal.SIGKILL, "killed", "running"), (signal.SIGINT, "stopped", "running")],
)
def test_a_real_process_that_a_signal_ended(
    tmp_path: Path, command: typer.Typer, number: signal.Signals, state: str, before: str
) -> None:
    out = tmp_path / "out"
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(out)],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        alive = CliRunner().invoke(command, [str(out)])
        process.send_signal(number)
    assert ready == b"ready\n"
    assert (alive.exit_code, before in alive.output) == (0, True)

    summary = summarize(out)
    assert (summary.state, summary.doing) == (state, "training on 3 nodes")
    assert (summary.stage, summary.round, summary.pid) == ("backbone", 7, process.pid)
    assert 0 <= time.time() - (summary.since or 0) < 60
    dead = CliRunner().invoke(command, [str(out)])
    assert dead.exit_code == 1
    assert f"--resume out={out}" in dead.output
    assert "was doing   stage backbone, round 7: training on 3 nodes" in dead.output
