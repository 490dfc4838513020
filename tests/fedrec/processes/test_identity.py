"""Whether the process that wrote something still lives."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedrec.processes import ProcessIdentity, identity, is_alive, this_process

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def named(pid: int) -> ProcessIdentity:
    return replace(this_process(), pid=pid, started=identity._started(pid))


def test_this_process_lives() -> None:
    assert this_process().pid == os.getpid()
    assert is_alive(this_process()) is True


@needs_proc
def test_a_killed_process_is_dead_even_before_anybody_waited_for_it(
    child: subprocess.Popen[bytes],
) -> None:
    process = named(child.pid)
    assert is_alive(process) is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie
    assert is_alive(process) is False
    child.wait()
    assert is_alive(process) is False


@needs_proc
def test_another_process_with_its_number_is_not_it() -> None:
    assert is_alive(replace(this_process(), started=this_process().started - 1)) is False


def test_a_process_before_the_machine_started_is_dead() -> None:
    assert is_alive(replace(this_process(), boot="another")) is False


def test_of_another_machine_nobody_knows() -> None:
    assert is_alive(replace(this_process(), host="elsewhere.invalid")) is None


def test_without_proc_the_number_must_do(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_BOOT", Path("/nowhere"))
    process = replace(this_process(), pid=child.pid, started=0)
    assert process.boot == ""
    assert is_alive(process) is True
    child.kill()
    child.wait()
    assert is_alive(process) is False
    assert is_alive(replace(process, pid=-1)) is False
