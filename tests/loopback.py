"""A small shop's data, a small configuration, and a federation inside the test's own process.

Fixtures for the tests of server, client and the whole; their conftest files name what they use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from fedrec import wire
from fedrec.config import Config, from_flat
from fedrec.data import Columns, prepare
from in_process import DirectGrid, identify
from server.attendance import Attendance
from server.federation import gather_federation
from server.patient_grid import PatientGrid
from server.run_folder import RunFolder
from server.stage_run import StageRunner

STAGES = ("backbone", "alignment", "routing")
SMALL_STAGE = {
    "rounds": 2,
    "patience": 0,
    "learning_rate": 0.05,
    "warmup_rounds": 0,
    "final_rate": 0.5,
    "negatives": 8,
}
SMALL = {
    "run.threads": 1,
    "run.baselines": False,
    "federation.draw": "users",
    "federation.users_per_round": 0,
    "federation.optimizer": "fedadam",
    "federation.weighting": "examples",
    "federation.min_replies": 0.5,
    "model.dim": 8,
    "model.layers": 1,
    "model.heads": 1,
    "model.inner": 8,
    "model.max_len": 6,
    "model.transitions": 2,
    "model.adapter": 4,
    "model.router_rank": 2,
    "model.time_scales": 2,
    "model.collaborative": True,
    "model.visual": "image",
    "model.semantic": "text",
    "memory.short_term": 3,
    "memory.long_term": 3,
    "evaluation.best_from": 0.0,
    "training.objective": "sampled_softmax",
    "training.local_steps": 1,
    "training.clip_norm": 0.0,
    "evaluation.every": 1,
    **{f"stages.{stage}.{key}": value for stage in STAGES for key, value in SMALL_STAGE.items()},
    "stages.backbone.backbone_rate": 0.5,
}
"""Everything that a test relies on, so that defaults can be tuned without touching tests."""


def write_shop(folder: Path, *, users: int, items: int, seed: int = 0) -> Path:
    """A prepared folder, made from a CSV file and keyed feature files as a user would make it.

    People tend to take the next item in a circle, so that there is something to learn. One item in
    six has no image. One user has two interactions and so no targets, one has a single one.
    """
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["who,what,when"]
    for user in range(users):
        length = {0: 2, 1: 1}.get(user, int(generator.integers(5, 14)))
        steps = generator.choice([1, 1, 1, 1, 5], size=length)
        taken = (int(generator.integers(items)) + np.cumsum(steps)) % items
        once = dict.fromkeys(taken.tolist())
        rows += [f"user{user:03},item{item:03},{time}" for time, item in enumerate(once)]
    (folder / "shop.csv").write_text("\n".join(rows) + "\n")
    _write_features(folder, items, generator)
    return prepare(
        "csv",
        source=folder / "shop.csv",
        out=folder / "prepared",
        features=folder,
        min_interactions=1,
        columns=Columns(user="who", item="what", time="when"),
    )


def _write_features(folder: Path, items: int, generator: np.random.Generator) -> None:
    """Places on the circle, seen through two noisy encoders."""
    angle = 2 * np.pi * np.arange(items) / items
    circle = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], 1)
    for name, width in (("image", 6), ("text", 5)):
        values = 0.1 * generator.normal(size=(items, width))
        values[:, :4] += circle
        known = [item for item in range(items) if name == "text" or item % 6]
        np.save(folder / f"{name}.npy", values[known].astype(np.float32))
        index = [f"{row},item{item:03}" for row, item in enumerate(known)]
        (folder / f"{name}_index.csv").write_text("\n".join(["row,key", *index]) + "\n")


def answered(asked: Message) -> ConfigRecord:
    """What a node's answer says that it answers."""
    about = asked.content[wire.CONFIG]
    keys = (wire.STAGE, wire.ROUND, wire.SPLIT)
    return ConfigRecord({key: about[key] for key in keys if key in about})


def best_is(number: int) -> Callable[[Message, Message], Message]:
    """For `LoopbackGrid.tamper`: nodes measure in that round what is twice as good as in others."""

    def pretend(message: Message, reply: Message) -> Message:
        asked = message.content[wire.CONFIG]
        if asked.get(wire.SPLIT) != "validation":
            return reply
        hits = 2.0 if asked[wire.ROUND] == number else 1.0
        metrics = {
            key: value if key.endswith("users") else hits
            for key, value in reply.content[wire.METRICS].items()
        }
        records = {wire.METRICS: MetricRecord(metrics), wire.CONFIG: answered(message)}
        return Message(RecordDict(records), reply_to=message)

    return pretend


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of 14 users and 24 items with text and images."""
    return write_shop(tmp_path_factory.mktemp("shop"), users=14, items=24)


@pytest.fixture(scope="session")
def flower_identity() -> None:
    """What Flower's runtime sets before an app runs; without it no Message can be made."""
    identify()


@pytest.fixture
def small_config(shop: Path, tmp_path: Path) -> Callable[..., Config]:
    """A configuration for `shop`: the keys of SMALL, and over them what the caller names, as
    `section={"key": value}` or under dotted keys."""

    def configure(dotted: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Config:
        named = {
            f"{section}.{key}": value
            for section, values in sections.items()
            for key, value in values.items()
        }
        paths = {"run.data": str(shop), "run.out": str(tmp_path / "run")}
        return from_flat({**SMALL, **paths, **named, **(dotted or {})})

    return configure


class LoopbackGrid(DirectGrid):
    """A Grid over the real client app in this process, one message after the other.

    Every message goes through Flower's wire format, so that server and clients share no memory.

    silent: ids of nodes that get messages and never answer. tamper: (message, reply) -> the reply
    that arrives instead.
    before: called with every batch of messages; may raise. sent, received: all there was.
    """

    def __init__(self, config: Config, nodes: int) -> None:
        super().__init__(config, nodes)
        self.silent: set[int] = set()
        self.tamper: Callable[[Message, Message], Message] = lambda message, reply: reply
        self.before: Callable[[list[Message]], None] = lambda messages: None
        self.sent: list[Message] = []
        self.received: list[Message] = []
        self.timeouts: list[float | None] = []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        messages = list(messages)
        self.timeouts.append(timeout)
        self.before(messages)
        self.sent += messages
        answered = [m for m in messages if m.metadata.dst_node_id not in self.silent]
        replies = [self.tamper(message, self.answer(message)) for message in answered]
        self.received += replies
        return sorted(replies, key=lambda reply: reply.metadata.src_node_id)

    def answer(self, message: Message) -> Message:
        return over_the_wire(super().answer(over_the_wire(message)))


def over_the_wire(message: Message) -> Message:
    """A message as it arrives elsewhere."""
    return message_from_proto(
        ProtoMessage.FromString(message_to_proto(message).SerializeToString())
    )


@pytest.fixture
def loopback(flower_identity: None) -> type[LoopbackGrid]:
    """`LoopbackGrid(config, nodes)`."""
    return LoopbackGrid


@pytest.fixture
def federate(loopback: type[LoopbackGrid]) -> Callable[..., tuple[StageRunner, LoopbackGrid]]:
    """(config, nodes) -> a StageRunner over a loopback grid, and that grid."""

    def build(config: Config, nodes: int = 3) -> tuple[StageRunner, LoopbackGrid]:
        grid = loopback(config, nodes)
        folder = RunFolder(Path(config.run.out))
        folder.begin(config)
        patient = PatientGrid(grid, config.federation)  # type: ignore[arg-type]
        federation = gather_federation(patient, nodes=nodes, timeout_s=1.0, reply_timeout_s=1.0)
        patience = config.federation.absence_timeout_s
        attendance = Attendance(federation, patient, patience_s=patience)
        return StageRunner(patient, config, attendance, folder), grid

    return build
