"""Nodes that lie within all bounds: what they send is fit, and meant to harm."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from numpy.typing import NDArray

from client.app import app as honest
from fedrec import wire
from fedrec.checkpoints import Arrays
from fedrec.training.touched import TABLE
from in_process import Client
from server.transport import from_record

FAR = 10.0
"""How many times as far as an honest update some go."""

Attack = Callable[["Knowledge", Arrays, Arrays, float], Arrays]
"""(what the node knows, the model that came, its honest sums, their weight) -> what it sends."""


@dataclass(frozen=True)
class Knowledge:
    """target: the item that a promoter pushes. popular: items that many people choose. max_norm: of
    a mean update, beyond which the server refuses it."""

    target: int
    popular: NDArray[np.int64]
    max_norm: float


def sign_flip(known: Knowledge, model: Arrays, sums: Arrays, weight: float) -> Arrays:
    """The opposite of what its users learned."""
    return _times(known, sums, weight, -1.0)


def scaling(known: Knowledge, model: Arrays, sums: Arrays, weight: float) -> Arrays:
    """What its users learned, ten times as far."""
    return _times(known, sums, weight, FAR)


def opposite_scaling(known: Knowledge, model: Arrays, sums: Arrays, weight: float) -> Arrays:
    """The opposite, ten times as far."""
    return _times(known, sums, weight, -FAR)


def promotion(known: Knowledge, model: Arrays, sums: Arrays, weight: float) -> Arrays:
    """What its users learned, but the target's row goes where popular items are.

    The row's part is as long as everything else that the node sends.
    """
    wanted = model[TABLE][known.popular].mean(axis=0)
    towards = wanted / max(float(np.linalg.norm(wanted)), 1e-12)
    table = sums[TABLE].copy()
    table[known.target] = norm(sums) * towards
    return _times(known, {**sums, TABLE: table}, weight, 1.0)


ATTACKS: dict[str, Attack] = {
    "sign_flip": sign_flip,
    "scaling": scaling,
    "opposite_scaling": opposite_scaling,
    "promotion": promotion,
}


def lying(attack: Attack, liars: Collection[int], known: Knowledge) -> Client:
    """The real client app, whose training answers on the partitions `liars` are poisoned; they rank
    and describe themselves as honest nodes do."""

    def answer(message: Message, context: Context) -> Message:
        reply = honest(message, context)
        training = message.metadata.message_type == "train"
        if not training or int(str(context.node_config["partition-id"])) not in liars:
            return reply
        sent = attack(
            known,
            from_record(message.content.array_records[wire.ARRAYS]),
            from_record(reply.content.array_records[wire.ARRAYS]),
            float(str(reply.content.metric_records[wire.METRICS][wire.WEIGHT])),
        )
        arrays = ArrayRecord({name: Array(value) for name, value in sent.items()})
        records = {**dict(reply.content), wire.ARRAYS: arrays}
        return Message(RecordDict(records), reply_to=message)

    return answer


def norm(arrays: Arrays) -> float:
    """The l2 norm of all numbers together."""
    return math.sqrt(sum(float(np.square(v, dtype=np.float64).sum()) for v in arrays.values()))


def _times(known: Knowledge, sums: Arrays, weight: float, factor: float) -> Arrays:
    """Each sum times a factor, or as much of it as is not refused."""
    most = 0.99 * known.max_norm * weight / max(norm(sums), 1e-12)
    share = np.float32(math.copysign(min(abs(factor), most), factor))
    return {name: (share * value).astype(np.float32) for name, value in sums.items()}
