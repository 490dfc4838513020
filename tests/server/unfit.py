"""Answers to a training message that must not be averaged, a function each."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fedrec import wire
from tests.loopback import answered
from tests.server.rounds import HALF, answer


def with_scale(message: Message, value: Any) -> Message:
    """An answer with something else in the place of `backbone.scale`, None: without it."""
    reply = answer(message)
    arrays = dict(reply.content[wire.ARRAYS])
    arrays["backbone.scale"] = value if isinstance(value, Array | None) else Array(value)
    named = {name: array for name, array in arrays.items() if array is not None}
    return Message(
        RecordDict({**dict(reply.content), wire.ARRAYS: ArrayRecord(named)}), reply_to=message
    )


def saying(message: Message, **about: Any) -> Message:
    """An answer that says that it answers something else; None: that says nothing of a key."""
    reply = answer(message)
    said = {**dict(answered(message)), **about}
    record = ConfigRecord({key: value for key, value in said.items() if value is not None})
    return Message(RecordDict({**dict(reply.content), wire.CONFIG: record}), reply_to=message)


def scale(*values: float, dtype: str = "float32") -> np.ndarray:
    return np.array(values, dtype=dtype)


def bytes_as(content: bytes) -> Array:
    """An array record whose bytes are not what it says they are."""
    return Array(dtype="float32", shape=(1,), stype="numpy.ndarray", data=content)


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"hospital": 7}], dtype=object), allow_pickle=True)
    return stream.getvalue()


def without_arrays(message: Message) -> Message:
    records = {key: value for key, value in answer(message).content.items() if key != wire.ARRAYS}
    return Message(RecordDict(records), reply_to=message)


def renamed(message: Message) -> Message:
    """The right numbers under the name of a group that does not train."""
    reply = answer(message)
    arrays = {name.replace("backbone", "gate"): a for name, a in reply.content[wire.ARRAYS].items()}
    return Message(
        RecordDict({**dict(reply.content), wire.ARRAYS: ArrayRecord(arrays)}), reply_to=message
    )


BAD = {
    "nan": lambda m: with_scale(m, scale(math.nan)),
    "inf": lambda m: with_scale(m, scale(-math.inf)),
    "a million times too large": lambda m: answer(m, {n: 1e6 * v for n, v in HALF.items()}),
    "another shape": lambda m: with_scale(m, scale(0.5, 0.5)),
    "another group": renamed,
    "a group is missing": lambda m: with_scale(m, None),
    "float64": lambda m: with_scale(m, scale(0.5, dtype="float64")),
    "integers": lambda m: with_scale(m, scale(1, dtype="int32")),
    "a pickle": lambda m: with_scale(m, bytes_as(pickled())),
    "cut bytes": lambda m: with_scale(m, bytes_as(Array(scale(0.5)).data[:-2])),
    "no array at all": lambda m: with_scale(m, bytes_as(b"hospital")),
    "a message far too large": lambda m: with_scale(m, np.zeros(10**6, dtype=np.float32)),
    "weight 0": lambda m: answer(m, weight=0.0),
    "a trillion examples": lambda m: answer(m, weight=1e12),
    "weight that is no number": lambda m: answer(m, **{wire.WEIGHT: math.nan}),
    "more users than asked": lambda m: answer(m, **{wire.USERS: 2}),
    "half a user": lambda m: answer(m, **{wire.USERS: 0.5}),
    "no users": lambda m: answer(m, **{wire.USERS: 0}),
    "loss nan": lambda m: answer(m, loss=math.nan),
    "loss out of range": lambda m: answer(m, loss=1e30),
    "loss below zero": lambda m: answer(m, loss=-5.0),
    "seconds below zero": lambda m: answer(m, **{wire.SECONDS: -1.0}),
    "a list of metrics": lambda m: answer(m, **{wire.LOSS: [1.0] * 9}),
    "an integer beyond floats": lambda m: answer(m, **{wire.LOSS: 10**400}),
    "a metric too many": lambda m: answer(m, hospital=7.0),
    "no arrays": without_arrays,
    "of an old round": lambda m: saying(m, round=0),
    "of a round to come": lambda m: saying(m, round=2),
    "of another stage": lambda m: saying(m, stage="routing"),
    "of a validation": lambda m: saying(m, split="validation"),
    "of it does not say what": lambda m: saying(m, round=None),
}
"""Every kind is one node's answer to the training message of round 1 of stage `backbone`."""
