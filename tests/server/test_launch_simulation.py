"""Real simulations of a small app: how they end, and that nothing of them is left.

Each starts Flower and Ray, which takes about ten seconds.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARK = "FEDREC_TEST_ID"
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

PROJECT = """
[project]
name = "stub"
version = "1.0.0"
[tool.flwr.app]
publisher = "fedrec"
[tool.flwr.app.components]
serverapp = "stub_server:app"
clientapp = "stub_client:app"
[tool.flwr.app.config]
out = '{out}'
rounds = {rounds}
fails_in = {fails_in}
"""
SERVER = """
import json
import time
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

def ask(grid):
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.05)
    return [
        dict(reply.content["answer"])
        for reply in grid.send_and_receive(
            [Message(RecordDict(), dst_node_id=node, message_type="train") for node in nodes]
        )
    ]

@app.main()
def main(grid, context):
    settings = context.run_config
    for number in range(1, settings["rounds"] + 1):
        if number == settings["fails_in"]:
            raise ValueError("the stub was told to fail")
        line = {"stage": "backbone", "round": number, "rounds": 99, "answers": ask(grid)}
        with open(settings["out"] + "/metrics.jsonl", "a") as file:
            file.write(json.dumps(line) + "\\n")
"""
CLIENT = """
import os
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    answer = {
        "telemetry": os.environ["FLWR_TELEMETRY_ENABLED"],
        "threads": os.environ["OMP_NUM_THREADS"],
        "partition": context.node_config["partition-id"],
    }
    return Message(RecordDict({"answer": ConfigRecord(answer)}), reply_to=message)
"""
LAUNCHER = """
import sys
from pathlib import Path
from rich.console import Console
from fedrec.report import Live
from server.launch import Launch, launch

out = Path(sys.argv[1])
with (out / "flower.log").open("ab") as log:
    request = Launch(
        write_app=lambda folder: out / "app", out=out, log=log, simulated_nodes=2, threads=3
    )
    outcome = launch(request, Live(Console(), "starting"))
print("outcome:", outcome.error)
"""


def write_stub(out: Path, *, rounds: int, fails_in: int = 0) -> None:
    app = out / "app"
    app.mkdir()
    project = PROJECT.format(out=out, rounds=rounds, fails_in=fails_in)
    (app / "pyproject.toml").write_text(project)
    (app / "stub_server.py").write_text(SERVER)
    (app / "stub_client.py").write_text(CLIENT)


def start(out: Path, test_id: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(out)],
        cwd=ROOT,
        env={**os.environ, MARK: test_id},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left(test_id: str) -> list[str]:
    """Command lines of the living processes that inherited the test's mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={test_id}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.fixture
def test_id() -> Iterator[str]:
    mark = uuid.uuid4().hex
    yield mark
    assert left(mark) == []


def wait_for_rounds(out: Path, launcher: subprocess.Popen[str], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not (out / "metrics.jsonl").exists():
        assert launcher.poll() is None, launcher.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_until_gone(test_id: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while left(test_id) and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_an_interrupted_simulation_leaves_nothing(
    tmp_path: Path, test_id: str, number: signal.Signals
) -> None:
    write_stub(tmp_path, rounds=1000)
    launcher = start(tmp_path, test_id)
    wait_for_rounds(tmp_path, launcher)
    assert len(left(test_id)) > 5  # Flower's and Ray's
    launcher.send_signal(number)
    output, _ = launcher.communicate(timeout=10)
    assert launcher.returncode == -number, output
    wait_until_gone(test_id, 5.0 if number == signal.SIGKILL else 0.0)
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert sorted(answer["partition"] for answer in first["answers"]) == [0, 1]
    assert all(answer["telemetry"] == "0" for answer in first["answers"])
    assert all(answer["threads"] == "3" for answer in first["answers"])


def test_an_app_that_fails_says_why_and_leaves_nothing(tmp_path: Path, test_id: str) -> None:
    write_stub(tmp_path, rounds=1, fails_in=1)
    output, _ = start(tmp_path, test_id).communicate(timeout=60)
    assert "outcome: " in output and "the stub was told to fail" in output
    assert "ValueError: the stub was told to fail" in (tmp_path / "flower.log").read_text()


@pytest.mark.slow
def test_a_simulation_that_ends_is_shown_and_leaves_nothing(tmp_path: Path, test_id: str) -> None:
    write_stub(tmp_path, rounds=2)
    output, _ = start(tmp_path, test_id).communicate(timeout=60)
    assert "backbone 2/99" in output or "backbone 1/99" in output
    assert "outcome: None" in output
