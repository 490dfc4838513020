"""Nothing that was started outlives its scope."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedrec.processes import process_scope
from fedrec.processes.marked import marked_processes

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

# A program whose grandchild lives in a session of its own and ignores SIGTERM, as daemons may.
FAMILY = """
import os, signal, subprocess, sys, time
grandchild = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", grandchild], start_new_session=True)
time.sleep(60)
"""
LAUNCHER = f"""
import os, sys, time
from fedrec.processes import process_scope
with process_scope() as processes, open(os.devnull, "ab") as log:
    processes.start([sys.executable, "-c", {FAMILY!r}], environment=os.environ, log=log)
    print(processes.mark, processes.folder, flush=True)
    time.sleep(60)
"""


def wait_for(count: int, mark: str, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while len(marked_processes(mark)) != count:
        assert time.monotonic() < deadline, f"{marked_processes(mark)} instead of {count} processes"
        time.sleep(0.02)


def test_all_descendants_end_with_the_scope() -> None:
    with process_scope() as processes, open(os.devnull, "ab") as log:
        processes.start([sys.executable, "-c", FAMILY], environment=os.environ, log=log)
        wait_for(2, processes.mark)
        assert processes.folder.is_dir()
    assert marked_processes(processes.mark) == []
    assert not processes.folder.exists()


def test_an_exception_ends_the_scope() -> None:
    with pytest.raises(ValueError), process_scope() as processes, open(os.devnull, "ab") as log:
        processes.start([sys.executable, "-c", FAMILY], environment=os.environ, log=log)
        wait_for(2, processes.mark)
        raise ValueError
    assert marked_processes(processes.mark) == []


def test_a_program_may_say_goodbye_within_its_grace(tmp_path: Path) -> None:
    polite = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye', flush=True), sys.exit()))\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    path = tmp_path / "log"
    with process_scope(grace_s=5.0) as processes, path.open("ab") as log:
        processes.start([sys.executable, "-c", polite], environment=os.environ, log=log)
        while "ready" not in path.read_text():
            time.sleep(0.02)
    assert path.read_text() == "ready\ngoodbye\n"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 1), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_a_signal_to_the_launcher_ends_the_scope(number: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # under nohup a hangup would be ignored, here and below
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    ) as launcher:
        assert launcher.stdout is not None
        mark, folder = launcher.stdout.readline().split()
        wait_for(2, mark)
        launcher.send_signal(number)
        expected = {code, -number} if number == signal.SIGINT else {code}
        assert launcher.wait(timeout=10) in expected
    wait_for(0, mark)
    deadline = time.monotonic() + 5
    while Path(folder).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_signal_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with process_scope():
        pass
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before
