"""Whole stages in this process: run, killed on the way, and what they left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message

from fedrec import wire
from fedrec.checkpoints import Arrays, Checkpoint, load_checkpoint, save_checkpoint
from fedrec.checkpoints.tensors import by_group
from fedrec.config import Config
from fedrec.stages import STAGES

Configure = Callable[..., Config]
Federate = Callable[..., Any]


class Killed(BaseException):
    """Nothing catches this, as nothing catches SIGKILL."""


def checkpoint(config: Config, stage: str) -> Checkpoint:
    return load_checkpoint(Path(config.run.out) / "checkpoints" / f"{stage}.safetensors")


def metrics_lines(config: Config) -> list[dict[str, Any]]:
    text = (Path(config.run.out) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def assert_same_arrays(ours: Arrays, theirs: Arrays) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def run_stages(federate: Federate, config: Config, nodes: int = 2) -> dict[str, Any]:
    """All stages as `server.app` runs them; the results."""
    runner, _ = federate(config, nodes)
    for stage in STAGES.values():
        runner.run(stage)
    return dict(runner.results)


def resave(where: Config, name: str, arrays: Arrays | None = None, **changes: Any) -> None:
    """Replace a checkpoint by one that is whole and says something else."""
    held = checkpoint(where, name)
    about = {
        key: getattr(held.manifest, key)
        for key in held.manifest.__dataclass_fields__
        if key not in ("groups", "fingerprint", "format")
    }
    folder = held.path.parent
    saved = save_checkpoint(folder, arrays or held.arrays, **{**about, **changes})
    if saved.path != held.path:
        saved.path.rename(held.path)
        saved.path.with_suffix(".json").rename(held.path.with_suffix(".json"))


def untrained(runner: Any, config: Config, group: str) -> Arrays:
    arrays = checkpoint(config, "backbone").arrays
    return {**arrays, **by_group(runner.initial)[group]}


def kill_before(grid: Any, stage: str, number: int, kind: str) -> None:
    """End the process, as it were, when messages of that round are about to be sent."""

    def before(messages: list[Message]) -> None:
        for message in messages:
            about = message.content[wire.CONFIG]
            found = (about.get(wire.STAGE), about.get(wire.ROUND), message.metadata.message_type)
            if found == (stage, number, kind):
                raise Killed

    grid.before = before
