"""A stage over made-up nodes, the answers they might give, and whole rounds of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedrec import wire
from fedrec.config import Config, from_flat
from fedrec.evaluation.metrics import METRICS
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.stages import STAGES
from server.attendance import Attendance
from server.federation import Federation, NodeInfo
from server.optimizers import build_strategy
from server.progress import RoundReport
from server.strategy import StageStrategy
from server.transport import to_record
from tests.loopback import answered

ARRAYS = {
    "item_embedding.weight": np.array([[0.1, -0.2], [0.3, 0.4]], dtype=np.float32),
    "backbone.scale": np.array([1.0], dtype=np.float32),
}
FROZEN = {"gate": np.array([0.1], dtype=np.float32), "router.w": np.ones(2, dtype=np.float32)}
NO_UPDATE = {name: np.zeros_like(value) for name, value in ARRAYS.items()}
HALF = {name: np.full_like(value, 0.5) for name, value in ARRAYS.items()}


def federation_of(*trainable: int) -> Federation:
    """Nodes with so many users each, ids descending."""
    return Federation(
        tuple(
            NodeInfo(100 - partition, partition, users, 24, "catalogue", (("visual", 6),), users=10)
            for partition, users in enumerate(trainable)
        )
    )


Settings = Mapping[str, Mapping[str, Any]]


def config_of(optimizer: str, sections: Settings) -> Config:
    """No warm-up and no decay, a learning rate of 0.1; `sections` may name other values."""
    flat = {
        "federation.optimizer": optimizer,
        "federation.users_per_round": 0,
        "federation.beta_1": 0.9,
        "federation.beta_2": 0.99,
        "federation.tau": 1e-8,
        "stages.backbone.rounds": 10,
        "stages.backbone.learning_rate": 0.1,
        "stages.backbone.warmup_rounds": 0,
        "stages.backbone.final_rate": 1.0,
        "stages.backbone.backbone_rate": 1.0,
        "stages.backbone.patience": 0,
        "evaluation.every": 1,
        "evaluation.best_from": 0.0,
    }
    for section, values in sections.items():
        prefix = "stages.backbone" if section == "stage" else section
        flat |= {f"{prefix}.{key}": value for key, value in values.items()}
    return from_flat(flat)


def make(
    *trainable: int,
    optimizer: str = "fedadam",
    reports: list[RoundReport] | None = None,
    **sections: Mapping[str, Any],
) -> StageStrategy:
    """A strategy of stage `backbone` over nodes with so many users."""
    config = config_of(optimizer, sections)
    strategy = build_strategy(config.federation)
    strategy.prepare(
        config=config,
        stage=STAGES["backbone"],
        attendance=Attendance(federation_of(*(trainable or (3, 2)))),
        arrays={name: value.copy() for name, value in ARRAYS.items()},
        frozen=FROZEN,
        on_round=lambda _, report: None if reports is None else reports.append(report),
    )
    return strategy


def ask(strategy: StageStrategy, number: int = 1) -> list[Message]:
    arrays = to_record(strategy.arrays)
    return list(strategy.configure_train(number, arrays, ConfigRecord(), None))  # type: ignore[arg-type]


def answer(
    message: Message,
    update: Mapping[str, np.ndarray] = HALF,
    *,
    weight: float = 1.0,
    loss: float = 2.0,
    **changes: Any,
) -> Message:
    """A node's reply: `update` is its users' mean. changes: metrics put in place of the right
    ones."""
    sums = {name: (weight * value).astype(np.float32) for name, value in update.items()}
    metrics = {
        wire.WEIGHT: weight,
        wire.LOSS: loss * weight,
        wire.USERS: len(message.content[wire.CONFIG][wire.MEMBERS]),
        wire.SECONDS: 0.1,
        **changes,
    }
    records = {
        wire.ARRAYS: to_record(sums),
        wire.METRICS: MetricRecord(metrics),
        wire.CONFIG: answered(message),
    }
    return Message(RecordDict(records), reply_to=message)


def ranked(message: Message, hits: float, users: float = 10.0) -> Message:
    """A node's answer to a validation: every sum is `hits`."""
    split = message.content[wire.CONFIG][wire.SPLIT]
    sums = {f"{split}/{p}/{m}/sum": hits for p in PROTOCOLS for m in METRICS}
    counts = {f"{split}/{p}/users": users for p in PROTOCOLS}
    records = {wire.METRICS: MetricRecord({**sums, **counts}), wire.CONFIG: answered(message)}
    return Message(RecordDict(records), reply_to=message)


def round_of(
    strategy: StageStrategy,
    number: int = 1,
    updates: Callable[[Message], Message] = answer,
    hits: float | None = None,
) -> ArrayRecord | None:
    """A whole round as `Strategy.start` runs it; without `hits` nobody answers the validation."""
    stepped, _ = strategy.aggregate_train(number, [updates(m) for m in ask(strategy, number)])
    arrays = to_record(strategy.arrays)
    asked = strategy.configure_evaluate(number, arrays, ConfigRecord(), None)  # type: ignore[arg-type]
    strategy.aggregate_evaluate(number, [] if hits is None else [ranked(m, hits) for m in asked])
    return stepped


def lost(message: Message) -> Message:
    return Message(Error(2, "does not hold the frozen groups"), reply_to=message)
