"""The Flower ClientApp: messages in, calls of the library, sums out.

What leaves a node: weighted sums of updates, counts, sums of losses and of rank statistics, and how
long it took. Where something fails: the error's type, for its text could name users or items.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.node_cache import load_model, load_node
from fedrec import wire
from fedrec.checkpoints.tensors import put_arrays
from fedrec.errors import FedrecError
from fedrec.model.feddmmr import FedDMMR

LOG = logging.getLogger(__name__)
app = ClientApp()


@app.query()
def describe(message: Message, context: Context) -> Message:
    """Say how many users can train here, and which catalogue they chose from."""
    node = load_node(context)
    answer = ConfigRecord(
        {
            wire.TRAINABLE: len(node.trainable),
            wire.ITEMS: node.data.num_items,
            wire.CATALOGUE: node.data.catalogue_fingerprint,
            wire.PARTITION: int(cast(int, context.node_config.get("partition-id", 0))),
        }
    )
    for expert, modality in node.modalities.items():
        answer[wire.FEATURE_DIM + expert] = int(modality.values.shape[1])
    return Message(content=RecordDict({wire.CONFIG: answer}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the users that are asked for, each from the model that came, and sum their updates."""
    began = time.monotonic()
    node = load_node(context)
    model = _model(message, context)
    asked = message.content.config_records[wire.CONFIG]
    with _discretion("training"):
        update = node.train(
            model,
            node.task(str(asked[wire.STAGE])),
            int(cast(int, asked[wire.ROUND])),
            cast(list[int], asked[wire.MEMBERS]),
        )
    arrays = {name: Array(total.cpu().numpy()) for name, total in update.update_sum.items()}
    metrics = MetricRecord(
        {
            wire.WEIGHT: update.weight_sum,
            wire.LOSS: update.loss_sum,
            wire.USERS: update.users,
            wire.SECONDS: time.monotonic() - began,
        }
    )
    content = RecordDict({wire.ARRAYS: ArrayRecord(arrays), wire.METRICS: metrics})
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Rank this node's targets with the model that came; answer with sums of rank statistics."""
    node = load_node(context)
    model = _model(message, context)
    asked = message.content.config_records[wire.CONFIG]
    active = node.task(str(asked[wire.STAGE])).stage.active
    with _discretion("evaluation"):
        sums = node.evaluate(model, active, str(asked[wire.SPLIT]))
    content = RecordDict({wire.METRICS: MetricRecord({**sums})})
    return Message(content=content, reply_to=message)


def _model(message: Message, context: Context) -> FedDMMR:
    """The model as the message has it: what trains from the message, the rest from the state."""
    wanted = str(message.content.config_records[wire.CONFIG][wire.FROZEN_FINGERPRINT])
    if wire.FROZEN in message.content:
        context.state[wire.FROZEN] = message.content.array_records[wire.FROZEN]
        context.state[wire.CONFIG] = ConfigRecord({wire.FROZEN_FINGERPRINT: wanted})
    held = context.state.config_records.get(wire.CONFIG, ConfigRecord())
    if held.get(wire.FROZEN_FINGERPRINT) != wanted:
        raise FedrecError("this node does not hold the frozen groups of the stage; send them again")
    model = load_model(context)
    sent = message.content.array_records[wire.ARRAYS]
    for record in (context.state.array_records[wire.FROZEN], sent):
        put_arrays(model, {name: array.numpy() for name, array in record.items()})
    return model


@contextmanager
def _discretion(what: str) -> Iterator[None]:
    """Keep the text of an error on the node, in its log: Flower would send it to the server."""
    try:
        yield
    except Exception as error:
        LOG.exception("%s failed", what)
        reason = f"{what} failed on this node with {type(error).__name__}; its log says more"
        raise FedrecError(reason) from None
