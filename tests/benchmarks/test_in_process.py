"""A run inside this process leaves what `fedrec run` leaves, and goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config, load_config, to_flat
from fedrec.errors import ConfigError, FedrecError
from in_process import run_in_process
from server.app import app
from tests.benchmarks.conftest import stopped_in

Configure = Callable[..., Config]
STAGES = ("backbone", "alignment", "routing")


def results(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_text()))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same_models(first: Path, second: Path) -> None:
    for stage in STAGES:
        one, other = (
            load_checkpoint(folder / "checkpoints" / f"{stage}.safetensors").arrays
            for folder in (first, second)
        )
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_it_leaves_a_whole_folder(small_config: Configure, tmp_path: Path) -> None:
    config = small_config(run={"baselines": True})
    out = run_in_process(config, tmp_path / "inside")
    assert out == tmp_path / "inside"
    found = results(out)
    assert set(found) == {"stages", "left_out", "environment", "baselines", "comparisons"}
    assert list(found["stages"]) == list(STAGES)
    assert json.loads((out / "status.json").read_text())["state"] == "finished"
    assert [(line["stage"], line["round"]) for line in lines(out)] == [
        (stage, number) for stage in STAGES for number in (1, 2)
    ]
    assert load_config(out / "config.toml").run.out == str(out)


def test_it_equals_a_federation_whose_sides_share_no_memory(
    small_config: Configure, loopback: Callable[..., Any], tmp_path: Path
) -> None:
    config = small_config(federation={"nodes": 3})
    app(loopback(config, 3), Context(1, 0, {}, RecordDict(), dict(to_flat(config))))
    inside = run_in_process(config, tmp_path / "inside")
    same_models(inside, Path(config.run.out))
    theirs = results(Path(config.run.out))["stages"]
    for stage, ours in results(inside)["stages"].items():
        timeless = {key: value for key, value in ours.items() if key != "seconds"}
        assert timeless == {k: v for k, v in theirs[stage].items() if k != "seconds"}


def test_a_run_that_was_stopped_goes_on_and_ends_in_the_same(
    small_config: Configure, tmp_path: Path
) -> None:
    config = small_config()
    whole = run_in_process(config, tmp_path / "whole")
    with stopped_in("alignment"):
        run_in_process(config, tmp_path / "stopped")
    assert len(lines(tmp_path / "stopped")) == 3
    resumed = replace(config, run=replace(config.run, resume=True))
    stopped = run_in_process(resumed, tmp_path / "stopped")
    same_models(whole, stopped)
    rounds = [[(line["stage"], line["round"]) for line in lines(out)] for out in (whole, stopped)]
    assert rounds[0] == rounds[1]


def test_a_folder_that_holds_a_run_is_refused(small_config: Configure, tmp_path: Path) -> None:
    config = small_config(stages={"alignment.rounds": 0, "routing.rounds": 0})
    run_in_process(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="holds a run already"):
        run_in_process(config, tmp_path / "run")


def test_what_stops_a_node_stops_the_run(small_config: Configure, tmp_path: Path) -> None:
    config = small_config(run={"data": str(tmp_path / "nothing")})
    with pytest.raises(FedrecError, match="nodes are not ready"):
        run_in_process(config, tmp_path / "run")
