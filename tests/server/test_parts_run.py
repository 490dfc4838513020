"""A federation over folders of their own ends in the bits of a simulation over the whole folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.data.parting import partition_folder
from fedrec.stages import STAGES
from in_process import DirectGrid
from server.floors import measure_floors
from server.run_folder import RunFolder

Configure = Callable[..., Config]
NODES = 3


@pytest.fixture
def parts(shop: Path, tmp_path: Path) -> Path:
    partition_folder(shop, tmp_path / "parts", nodes=NODES)
    return tmp_path / "parts"


def apart(parts: Path) -> Callable[..., None]:
    """Makes every node of a grid read a folder of its own, and know no other place."""
    original = DirectGrid.__init__

    def make(grid: DirectGrid, config: Config, nodes: int) -> None:
        original(grid, config, nodes)
        for context in grid.contexts.values():
            number = int(str(context.node_config["partition-id"])) + 1
            context.node_config = {"data": str(parts / f"node-{number}")}

    return make


def test_all_stages_end_in_the_same_bits(
    federate: Callable[..., Any],
    small_config: Configure,
    parts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulated = small_config()
    elsewhere = {"data": str(parts / "server"), "out": str(tmp_path / "apart")}
    own = small_config(run=elsewhere)
    results = []
    for config in (simulated, own):
        if config is own:
            monkeypatch.setattr(DirectGrid, "__init__", apart(parts))
        runner, _ = federate(config, NODES)
        for stage in STAGES.values():
            runner.run(stage)
        results.append(runner.results)
    for name in STAGES:
        for measured in ("validation", "test"):
            assert results[0][name][measured] == results[1][name][measured]
        one, other = (
            load_checkpoint(Path(config.run.out) / "checkpoints" / f"{name}.safetensors")
            for config in (simulated, own)
        )
        assert one.manifest.catalogue == other.manifest.catalogue
        for group, array in one.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[group], err_msg=group)


def test_a_part_is_compared_with_nothing(
    small_config: Configure, parts: Path, tmp_path: Path
) -> None:
    for name in ("server", "node-1"):
        settings = {"data": str(parts / name), "out": str(tmp_path / name), "baselines": True}
        config = small_config(run=settings)
        folder = RunFolder(tmp_path / name)
        folder.begin(config)
        assert PreparedData.load(config.run.data).part is not None
        assert measure_floors(config, folder) == {}
