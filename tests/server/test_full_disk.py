"""A disk full in the midst of a run: a clear error, nothing half-written, and it goes on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedrec import wire
from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config
from fedrec.errors import FedrecError
from in_process import run_in_process

Configure = Callable[..., Config]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free; returns the file that takes the room."""
    ballast = folder / "ballast"
    with ballast.open("wb") as stream, pytest.raises(OSError, match="No space left"):
        while True:
            stream.write(b"x" * 4096)
            stream.flush()
    return ballast


def ends(path: Path) -> dict[str, np.ndarray]:
    return load_checkpoint(path / "checkpoints" / "backbone.safetensors").arrays


def test_a_full_disk_ends_the_run_and_a_resume_ends_in_the_same(
    small_disk: Path,
    small_config: Configure,
    loopback: Callable[..., Any],
    tmp_path: Path,
) -> None:
    rounds = {f"stages.{name}.rounds": 0 for name in ("alignment", "routing")}
    config = small_config({"stages.backbone.rounds": 5, "federation.nodes": 2, **rounds})
    unbroken = run_in_process(config, tmp_path / "unbroken", loopback(config, 2))
    grid, out = loopback(config, 2), small_disk / "run"

    def before(messages: list[Message]) -> None:
        about = messages[0].content[wire.CONFIG] if messages else {}
        if about.get(wire.ROUND) == 3 and not (small_disk / "ballast").exists():
            fill(small_disk)

    grid.before = before
    with pytest.raises(FedrecError, match=r"cannot write in .*run: No space left .*--resume"):
        run_in_process(config, out, grid)

    state = json.loads((out / "checkpoints" / "state.json").read_text())
    assert state["progress"]["round"] == 2
    assert (out / "checkpoints" / state["tensors"]).exists()
    assert list(out.rglob(".*.part-*")) == []
    (small_disk / "ballast").unlink()
    resumed = small_config(
        {"stages.backbone.rounds": 5, "federation.nodes": 2, **rounds}, run={"resume": True}
    )
    run_in_process(resumed, out, loopback(resumed, 2))
    for name, value in ends(unbroken).items():
        np.testing.assert_array_equal(ends(out)[name], value)
    assert json.loads((out / "status.json").read_text())["state"] == "finished"
