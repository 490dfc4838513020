"""A hostile client app in a real run: refused, left out, and nothing of it in the model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.app import app as honest
from fedrec import wire
from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config
from fedrec.stages import STAGES
from tests.loopback import over_the_wire

Configure = Callable[..., Config]
Federate = Callable[..., Any]

HOSTILE = 999
hostile = ClientApp()


@hostile.query()
def describe(message: Message, context: Context) -> Message:
    """It joins as everybody does."""
    return honest(message, context)


@hostile.train()
def poison(message: Message, context: Context) -> Message:
    """Round by round: no numbers, a bomb, and a claim; where it is honest otherwise."""
    reply = honest(message, context)
    turn = int(message.content[wire.CONFIG][wire.ROUND]) % 3
    arrays, metrics = reply.content[wire.ARRAYS], dict(reply.content[wire.METRICS])
    if turn == 0:
        arrays = ArrayRecord({n: Array(a.numpy() * np.float32(np.nan)) for n, a in arrays.items()})
    elif turn == 1:
        arrays = ArrayRecord({n: Array(a.numpy() * np.float32(1e6)) for n, a in arrays.items()})
        metrics |= {wire.USERS: 10**12}
    else:
        metrics |= {wire.WEIGHT: 1e12}
    records = {**dict(reply.content), wire.ARRAYS: arrays, wire.METRICS: MetricRecord(metrics)}
    return Message(RecordDict(records), reply_to=message)


@hostile.evaluate()
def boast(message: Message, context: Context) -> Message:
    """A trillion users, all of them hit."""
    reply = honest(message, context)
    metrics = MetricRecord({key: 1e12 for key in reply.content[wire.METRICS]})
    return Message(RecordDict({**dict(reply.content), wire.METRICS: metrics}), reply_to=message)


broken = ClientApp()


@broken.query()
def join(message: Message, context: Context) -> Message:
    """It joins, and never does anything else."""
    return honest(message, context)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("flwr").setLevel(logging.WARNING)


def run_with(app: ClientApp, federate: Federate, config: Config) -> Any:
    """All stages over three nodes of which one has another app; the runner and its grid."""
    runner, grid = federate(config, 3)
    usual = grid.answer

    def answer(message: Message) -> Message:
        if message.metadata.dst_node_id != HOSTILE or message.metadata.message_type == "query":
            return usual(message)
        return over_the_wire(app(over_the_wire(message), grid.contexts[HOSTILE]))

    if app is broken:
        grid.silent.add(HOSTILE)
    grid.answer = answer
    for stage in STAGES.values():
        runner.run(stage)
    return runner, grid


def test_a_hostile_app_changes_nothing_and_is_left_out(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    """The run is bit by bit that of the same nodes with one that never answers."""
    config = small_config({"stages.backbone.rounds": 3})
    runner, grid = run_with(hostile, federate, config)
    quiet = small_config({"stages.backbone.rounds": 3, "run.out": str(tmp_path / "quiet")})
    run_with(broken, federate, quiet)

    for stage in STAGES:
        ours, theirs = (
            load_checkpoint(Path(one.run.out) / "checkpoints" / f"{stage}.safetensors")
            for one in (config, quiet)
        )
        for name, value in theirs.arrays.items():
            np.testing.assert_array_equal(ours.arrays[name], value, err_msg=f"{stage} {name}")
        assert ours.manifest.metrics == theirs.manifest.metrics
    results = json.loads((Path(config.run.out) / "results.json").read_text())
    (told,) = results["left_out"]
    assert (told["node_id"], told["strikes"], told["stage"]) == (HOSTILE, 3, "backbone")
    assert results["stages"]["backbone"]["refused"] == 3
    asked = [m for m in grid.sent if m.metadata.dst_node_id == HOSTILE]
    assert len(asked) == 1 + 3
    assert runner.strikes.out(HOSTILE)
