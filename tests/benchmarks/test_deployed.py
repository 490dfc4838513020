"""What a run of a server and its clients is judged by."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

import many_nodes
import soak
from deployed import Held, Sample, held, slope
from runs import MARK

MIB = 2**20


def sample(number: int, server: float, clients: float = 100.0, **line: Any) -> Sample:
    about = {"round": number, "users": 4, "seconds": 2.0, "slowest_node_s": 1.5, "refused": 0}
    about |= {"warnings": [], "validation": None, **line}
    return Sample(
        about,
        Held(int(server * MIB) + 7, int(server * MIB), number * 0.5, {}),
        Held(int(clients * MIB) + 7, int(clients * MIB), number * 0.3, {}),
        float(number),
        int(server * MIB),
    )


def samples(server: Sequence[float], clients: float = 100.0) -> list[Sample]:
    return [sample(number, mib, clients) for number, mib in enumerate(server, 1)]


def test_slope() -> None:
    assert slope([5.0]) == 0.0
    assert slope([1.0, 3.0, 5.0]) == pytest.approx(2.0)


def test_growth_counts_after_the_fifth_round() -> None:
    found = many_nodes.judged(samples([100, 200, 300, 400, 500, 500, 500.5, 501]), 7, 8)
    assert found["growth_bytes"] == pytest.approx(0.5 * MIB)
    assert (found["completed"], found["whole"], found["kept"]) == (8, 8, True)
    assert "| rounds that ended | 8 of 8 |" in many_nodes.report(found, 7, 9.0)


def test_a_server_that_grows_or_a_round_too_few_misses_the_bar() -> None:
    assert not many_nodes.judged(samples([100] * 5 + [100, 102, 104]), 7, 8)["kept"]
    assert not many_nodes.judged(samples([100] * 7), 7, 8)["kept"]


def test_rounds_without_every_answer_are_told() -> None:
    rounds = [sample(1, 100), sample(2, 100, refused=1), sample(3, 100, warnings=["late"])]
    found = many_nodes.judged(rounds, 7, 3)
    assert (found["whole"], found["refused"], found["warnings"]) == (1, 1, ["late"])
    lost = soak.judged(rounds, 3, 3, 1)
    assert (lost["lost"], lost["kept"]) == ([2, 3], False)
    assert "rounds [2, 3]" in soak.report(lost, 9.0)


def test_every_node_is_in_one_process() -> None:
    commands = many_nodes.commands("a:1", many_nodes.BUILT_IN, 7, 3)
    places = [(int(words[3]), int(words[4]), int(words[5])) for words in commands]
    assert places == [(0, 2, 7), (2, 2, 7), (4, 3, 7)]


def test_a_soak_compares_the_end_with_the_settled_rounds() -> None:
    server = [10.0] * 4 + [100.0] * 10 + [150.0] * 5 + [104.0] * 10
    found = soak.judged(samples(server), 3, 29, 4)
    assert found["growth"] == {"server": pytest.approx(0.04), "clients": 0.0}
    assert found["kept"]
    assert not soak.judged(samples(server[:-10] + [106.0] * 10), 3, 29, 4)["kept"]


def test_a_soak_says_what_a_round_costs() -> None:
    found = soak.judged(samples([100.0] * 6), 3, 6, 2)
    assert found["beyond_training_s"].median == pytest.approx(0.5)
    assert found["server_cpu_s"].median == pytest.approx(0.5)
    assert found["client_cpu_s"].median == pytest.approx(0.1)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux's /proc is needed")
def test_what_marked_processes_hold() -> None:
    program = (
        "held = bytearray(30 << 20)\nfor place in range(0, len(held), 4096): held[place] = 1\n"
    )
    program += "print('ready', flush=True)\nimport time\ntime.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, MARK: "test-held"},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        found = held("test-held")
        assert 30 * MIB < found.anonymous_bytes <= found.bytes < 80 * MIB
        assert sum(part[0] for part in found.parts.values()) == found.anonymous_bytes
    finally:
        process.kill()
        process.communicate()
    time.sleep(0.01)
    assert held("test-held") == Held(0, 0, 0.0, {})
