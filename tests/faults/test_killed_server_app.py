"""`kill -9` of the server app at ten random moments: a resumed run ends as an unbroken one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.checkpoints import load_checkpoint
from fedrec.checkpoints.tensors import read_tensors
from fedrec.config import from_flat, to_toml
from tests.loopback import SMALL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]

STAGES = ("backbone", "alignment", "routing")
ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5
KINDS = {
    "in training": "to train",
    "in another training": "to train",
    "in a validation or test": "to evaluate",
    "in another": "to evaluate",
    "the state half-written": "writing state-",
    "the state not yet named": "written state-",
    "a checkpoint half-written": "writing alignment.safetensors",
    "a checkpoint without its manifest": "written backbone.safetensors",
    "a line half-appended": "appending a line",
    "at any moment": "",
}
"""Which moments, of which one is drawn at random."""


def doomed(config: Path, out: Path, moment: int) -> list[str]:
    """What each moment of the last run was."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.doomed", str(config), str(out), str(moment)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def unbroken(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A configuration, the folder of a run that nobody killed, and its moments."""
    folder = tmp_path_factory.mktemp("unbroken")
    rounds = {f"stages.{name}.rounds": 4 for name in STAGES}
    flat = {**SMALL, **rounds, "run.data": str(shop), "evaluation.every": 2}
    file = folder / "config.toml"
    file.write_text(to_toml(from_flat({**flat, "federation.nodes": 2})))
    return file, folder / "run", doomed(file, folder / "run", 0)


def assert_readable(out: Path) -> None:
    for path in out.rglob("*.safetensors"):
        read_tensors(path)
    for path in out.rglob("*.json"):
        json.loads(path.read_text())
    assert list(out.rglob(".*.part-*")) == []


def results(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "results.json").read_text())["stages"])


def metrics(out: Path) -> list[float]:
    """Every validation and test number, in order."""
    found = results(out)
    return [
        value
        for stage in STAGES
        for split in ("validation", "test")
        for protocol in found[stage][split].values()
        for value in protocol.values()
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_killed_ends_as_an_unbroken_one(
    unbroken: tuple[Path, Path, list[str]], tmp_path: Path, kind: str
) -> None:
    file, whole, moments = unbroken
    possible = [number for number, what in enumerate(moments, 1) if KINDS[kind] in what]
    moment = random.Random(kind).choice(possible)

    doomed(file, tmp_path / "run", moment)

    broken = tmp_path / "run"
    assert_readable(broken)
    np.testing.assert_allclose(metrics(broken), metrics(whole), atol=TOLERANCE, rtol=0)
    for stage in STAGES:
        ours, theirs = (
            load_checkpoint(path / "checkpoints" / f"{stage}.safetensors").arrays
            for path in (broken, whole)
        )
        for name, value in theirs.items():
            np.testing.assert_array_equal(ours[name], value, err_msg=moments[moment - 1])
