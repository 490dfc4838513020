"""A whole federation on this machine: Flower, Ray and all, started by the command line.

One run of three stages, and one that is killed and resumed; about 20 and 30 seconds.
The benchmarks' way to run without Flower's processes is compared with the first.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.config import load_config
from fedrec.data import PreparedData
from fedrec.evaluation.checkpoint import rank_checkpoint
from fedrec.evaluation.metrics import METRICS, metrics_from_sums, rank_sums
from in_process import run_in_process

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

ROUNDS = {"backbone": 2, "alignment": 5, "routing": 2}
CHANGES: dict[str, Any] = {
    **{f"stages.{name}.rounds": count for name, count in ROUNDS.items()},
    "evaluation.every": 2,
    "federation.users_per_round": 20,
}


@pytest.fixture(scope="module")
def unbroken(program: Any, configured: Callable[..., str], run_at: Callable[[str], Any]) -> Any:
    """The run that everything here is compared with, and what was printed."""
    printed = program.run("run", configured(CHANGES), "out=runs/unbroken", "seed=3")
    return run_at("runs/unbroken"), printed


def test_results_hold_every_stage_and_what_it_is_compared_with(unbroken: Any) -> None:
    run, printed = unbroken

    results = run.json("results.json")

    assert set(results) == {"stages", "left_out", "baselines", "comparisons", "environment"}
    assert list(results["stages"]) == list(ROUNDS)
    for name, stage in results["stages"].items():
        assert set(stage) == {
            "rounds", "best_round", "seconds", "bytes_up", "bytes_down", "group_bytes_up",
            "group_bytes_down", "validation", "test", "skipped", "refused",
        }  # fmt: skip
        assert stage["rounds"] == ROUNDS[name]
        assert 1 <= stage["best_round"] <= ROUNDS[name]
        assert stage["seconds"] > 0 < stage["bytes_up"]
        assert stage["bytes_down"] > 0
        for split in ("validation", "test"):
            assert set(stage[split]) == {"full", "sampled100"}
            for metrics in stage[split].values():
                assert set(metrics) == {*METRICS, "users"}
                assert metrics["users"] == 38
    assert set(results["baselines"]) == {"random", "popularity", "item_knn"}
    assert len(results["comparisons"]) == 3
    assert results["environment"]["config"]["run.seed"] == 3
    assert run.json("status.json")["state"] == "finished"
    assert "routing" in printed


def test_there_is_a_line_a_round_and_a_validation_every_other_and_at_the_last(
    unbroken: Any,
) -> None:
    run, _ = unbroken

    assert run.rounds() == [
        (name, n) for name, count in ROUNDS.items() for n in range(1, count + 1)
    ]
    for line in run.lines():
        due = line["round"] % 2 == 0 or line["round"] == line["rounds"]
        assert (line["validation"] is not None) == due
        assert line["users"] == 20
        assert line["refused"] == 0
        assert line["warnings"] == []
        assert line["rounds"] == ROUNDS[line["stage"]]


def test_best_rounds_are_those_of_the_lines(unbroken: Any) -> None:
    run, _ = unbroken

    for name, lines in groupby(run.lines(), key=lambda line: line["stage"]):
        validated = [line for line in lines if line["validation"]]
        best = max(validated, key=lambda line: line["validation"]["full"]["ndcg@10"])
        stage = run.json("results.json")["stages"][name]
        assert stage["best_round"] == best["round"]
        assert stage["validation"] == best["validation"]


def test_learning_happens(unbroken: Any) -> None:
    """People take the next item in a circle; a model that learned nothing ranks at random."""
    results = unbroken[0].json("results.json")

    chance = results["baselines"]["random"]["validation"]["full"]["ndcg@10"]
    for stage in results["stages"].values():
        assert stage["validation"]["full"]["ndcg@10"] > chance + 0.1


def test_checkpoints_form_a_chain_of_verified_files(unbroken: Any) -> None:
    run, _ = unbroken
    parent = None

    for name in ROUNDS:
        manifest = run.checkpoint(name).manifest
        assert manifest.stage == name
        assert manifest.parent == parent
        assert manifest.config["run.seed"] == 3
        parent = manifest.fingerprint


@pytest.mark.parametrize("stage", ROUNDS)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_central_evaluation_of_a_checkpoint_equals_the_federated_numbers(
    unbroken: Any, program: Any, stage: str, split: str
) -> None:
    run, _ = unbroken
    data = PreparedData.load(program.folder / "shop" / "prepared")

    ranks = rank_checkpoint(run.checkpoint(stage), data, split)

    central = metrics_from_sums(rank_sums(ranks), split)
    federated = run.json("results.json")["stages"][stage][split]
    for protocol, metrics in central.items():
        assert federated[protocol] == pytest.approx(metrics, abs=1e-12)


def test_a_run_inside_one_process_ends_in_the_same_numbers(
    unbroken: Any, program: Any, run_at: Callable[[str], Any]
) -> None:
    whole, _ = unbroken

    run_in_process(load_config(whole.path / "config.toml"), program.folder / "runs/inside")

    run = run_at("runs/inside")
    assert run.json("status.json")["state"] == "finished"
    assert run.rounds() == whole.rounds()
    ours, theirs = run.json("results.json"), whole.json("results.json")
    assert set(ours) == set(theirs)
    for name in ROUNDS:
        assert ours["stages"][name]["best_round"] == theirs["stages"][name]["best_round"]
        for key in ("validation", "test"):
            for protocol, metrics in theirs["stages"][name][key].items():
                assert ours["stages"][name][key][protocol] == pytest.approx(metrics, abs=1e-6)
        arrays, expected = run.checkpoint(name).arrays, whole.checkpoint(name).arrays
        for parameter, value in expected.items():
            np.testing.assert_allclose(
                arrays[parameter], value, rtol=1e-4, atol=1e-6, err_msg=parameter
            )


def test_a_run_that_was_killed_resumes_and_ends_in_the_same_numbers(
    unbroken: Any, program: Any, configured: Callable[..., str], run_at: Callable[[str], Any]
) -> None:
    """SIGKILL leaves no time to tidy up: a watchdog must, and the folder must be fit to resume."""
    whole, _ = unbroken
    run = run_at("runs/killed")
    launcher = program.start("run", configured(CHANGES), "out=runs/killed", "seed=3")
    deadline = time.monotonic() + 60
    while ("alignment", 3) not in run.rounds():
        assert launcher.poll() is None, program.output(launcher)
        assert time.monotonic() < deadline, program.output(launcher)
        time.sleep(0.02)

    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    program.wait_until_gone(15)
    killed_at = run.rounds()
    assert ("routing", ROUNDS["routing"]) not in killed_at
    assert run.json("status.json")["state"] == "running"  # it had no time to say anything else
    asked = program.start("status", "runs/killed")
    assert asked.wait(60) == 1
    assert "runs/killed: killed" in program.output(asked)

    program.run("run", "out=runs/killed", "--resume")

    assert run.json("status.json")["state"] == "finished"
    assert run.rounds() == whole.rounds()
    ours, theirs = run.json("results.json"), whole.json("results.json")
    for name in ROUNDS:
        for key in ("rounds", "best_round", "validation", "test"):
            assert ours["stages"][name][key] == theirs["stages"][name][key]
        arrays, expected = run.checkpoint(name).arrays, whole.checkpoint(name).arrays
        assert arrays.keys() == expected.keys()
        for parameter, value in expected.items():
            np.testing.assert_array_equal(arrays[parameter], value, err_msg=parameter)
    assert ours["comparisons"] == theirs["comparisons"]
    assert ours["baselines"] == theirs["baselines"]
    program.wait_until_gone(5)
