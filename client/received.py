"""The model that a message is about: what it brings, and what the node holds already."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from numpy.typing import NDArray

from client.held import Held
from client.node_cache import build_untrained, load_model, load_node
from fedrec import wire
from fedrec.checkpoints import Arrays, fingerprint
from fedrec.checkpoints.tensors import model_arrays
from fedrec.errors import FedrecError
from fedrec.model.feddmmr import FedDMMR, group_of, groups
from fedrec.stages import STAGES, stage_groups
from fedrec.training.touched import TABLE
from fedrec.transport import CODECS, Codec, Rows, decode_parts

LOG = logging.getLogger(__name__)


def current_model(message: Message, context: Context) -> FedDMMR:
    """The process's model, with the weights that the message asks about.

    Raises FedrecError where the node does not hold what the message builds on, and the server then
    sends all of it; and for a message that cannot be read.
    """
    model = load_model(context)
    with _reading():
        for arrays in (_frozen(message, context), _trained(message, context, model)):
            _install(model, arrays)
    return model


@contextmanager
def _reading() -> Iterator[None]:
    """A server may send anything: whatever reading it leads to becomes one kind of error."""
    try:
        yield
    except (FedrecError, OSError):  # what is wrong here is not the message
        raise
    except Exception as error:
        LOG.exception("a message could not be read")
        raise FedrecError(f"the message cannot be read ({type(error).__name__})") from None


def _frozen(message: Message, context: Context) -> Arrays:
    """The frozen groups of the stage, from the message or as they were kept."""
    wanted = str(message.content.config_records[wire.CONFIG][wire.FROZEN_FINGERPRINT])
    held = Held(context, wire.FROZEN)
    if wire.FROZEN in message.content:
        held.write(_named(message.content.array_records[wire.FROZEN]), wanted)
    arrays = held.read(wanted)
    if arrays is None:
        raise FedrecError("this node does not hold the frozen groups of the stage; send them again")
    return arrays


def _trained(message: Message, context: Context, model: FedDMMR) -> Arrays:
    """What trains in the stage; kept by the node where the message names a version."""
    asked = message.content.config_records[wire.CONFIG]
    if wire.VERSION not in asked:
        return _named(message.content.array_records[wire.ARRAYS])
    held, version, base = Held(context, wire.ARRAYS), str(asked[wire.VERSION]), asked.get(wire.BASE)
    start = None if base is None else _base(held, context, asked, _names(asked, model))
    for step, record, codec in _steps(message, context):
        start = _receive(held, start, record, _names(asked, model), codec, model, step)
    arrays = held.read(version)
    if arrays is None:
        raise FedrecError(f"this node could not keep version {version}")
    return arrays


def _base(held: Held, context: Context, asked: ConfigRecord, names: list[str]) -> Arrays:
    """The version that the message builds on: held, or untrained and so built here."""
    base = str(asked[wire.BASE])
    arrays = held.read(base)
    if arrays is None and wire.INITIAL in asked:
        arrays = model_arrays(build_untrained(context), names)
        if fingerprint(arrays) != asked[wire.INITIAL]:
            raise FedrecError("this node builds another untrained model than the server's")
        held.write(arrays, base)
    if arrays is None:
        raise FedrecError(f"this node does not hold version {base} of the model")
    return arrays


def _steps(message: Message, context: Context) -> Iterator[tuple[str, ArrayRecord, Codec | None]]:
    """The versions that the message leads through, the record that leads to each, and how a change
    is encoded; None where the record has the values themselves."""
    version = str(message.content.config_records[wire.CONFIG][wire.VERSION])
    records = message.content.array_records
    if wire.ARRAYS in records:
        yield version, records[wire.ARRAYS], None
    changes = sorted(name for name in records if name.startswith(wire.CHANGE))
    codec = CODECS[load_node(context).config.federation.transport]
    for name in changes:
        yield (version if name == changes[-1] else f"{name} to {version}"), records[name], codec


def _receive(
    held: Held,
    start: Arrays | None,
    record: ArrayRecord,
    names: Iterable[str],
    codec: Codec | None,
    model: FedDMMR,
    version: str,
) -> Arrays | None:
    """Make what is held, `start`, the version that the record leads to, and return it."""
    rows = record[wire.ROWS].numpy() if wire.ROWS in record else None
    payloads = {name: array.numpy() for name, array in record.items() if name != wire.ROWS}
    sent = decode_parts(payloads, _shapes(model, names, rows), codec or CODECS["float32"])
    if codec is not None:
        if start is None:
            raise FedrecError(f"a change to version {version} came without the one it builds on")
        before = start if rows is None else {**start, TABLE: start[TABLE][rows]}
        sent = {name: before[name] + value for name, value in sent.items()}
    if rows is None or start is None:
        held.write(sent, version)
    else:
        held.change_rows({**sent, TABLE: start[TABLE]}, TABLE, rows, sent[TABLE], version)
    return held.read(version)


def _shapes(
    model: FedDMMR, names: Iterable[str], rows: Rows | None
) -> dict[str, dict[str, tuple[int, ...]]]:
    """Group -> name -> shape of what comes, of the table only `rows` where these are given."""
    parameters = dict(model.named_parameters())
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name in names:
        shape = tuple(parameters[name].shape)
        if name == TABLE and rows is not None:
            shape = (len(rows), *shape[1:])
        shapes.setdefault(group_of(name), {})[name] = shape
    return shapes


def _names(asked: ConfigRecord, model: FedDMMR) -> list[str]:
    """What trains in the stage, in the model's order."""
    members = groups(model)
    wanted = stage_groups(STAGES[str(asked[wire.STAGE])], members)
    return [name for group in wanted for name in members[group]]


def _named(record: ArrayRecord) -> Arrays:
    return {name: array.numpy() for name, array in record.items()}


def _install(model: FedDMMR, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Make the arrays the model's weights, without a copy where the device allows it.

    Nothing is ever written into weights that are there: they may be a file that a node keeps.
    Raises FedrecError for a name the model does not have or a shape that differs.
    """
    parameters = dict(model.named_parameters())
    for name, value in arrays.items():
        if name not in parameters or tuple(parameters[name].shape) != value.shape:
            found = tuple(parameters[name].shape) if name in parameters else "no such parameter"
            raise FedrecError(f"{name} came with shape {value.shape}, the model has {found}")
        if value.dtype != np.float32:
            raise FedrecError(f"{name} came as {value.dtype}, expected float32")
        weight = torch.from_numpy(np.ascontiguousarray(value))
        parameters[name].data = weight.to(parameters[name].device)
