"""The Flower ClientApp: messages in, calls of the library, sums out.

What leaves a node: how many users it has, weighted sums of updates, counts, sums of losses and of
rank statistics, how long it took, and which question it answers. Only where
`federation.sparse_rows` or `item_averaging=row` ask for it, also which rows of the item table a
cohort touched, and what those weigh who met them (docs/protocol.md). Where something fails: the
error's type, for its text could name users or items.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from client.node_cache import load_node, partition_of
from client.packed import packed_both_ways
from client.personal import KeptParts
from client.received import current_model
from client.uplink import update_record
from fedrec import wire
from fedrec.config import settings_fingerprint
from fedrec.errors import FedrecError, Unencodable
from fedrec.monitoring.log_context import log_context
from fedrec.monitoring.logs import configure_logs
from fedrec.versions import versions_that_matter

LOG = logging.getLogger(__name__)


def _logged(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """Let the log lines of an answer say what they are about."""
    configure_logs()
    asked = message.content.config_records.get(wire.CONFIG, ConfigRecord())
    with log_context(
        run=Path(str(context.run_config.get("run.out", ""))).name or None,
        node=context.node_id,
        **{name: asked[name] for name in (wire.STAGE, wire.ROUND) if name in asked},
    ):
        return answer(message, context)


app = ClientApp(mods=[packed_both_ways, _logged])


@app.query()
def describe(message: Message, context: Context) -> Message:
    """Say how many users can train here, which catalogue they chose from, and what runs here."""
    node = load_node(context)
    answer = ConfigRecord(
        {
            wire.TRAINABLE: len(node.drawn_from),
            wire.HELD_USERS: len(node.users),
            wire.ITEMS: node.data.warm_items,
            wire.COLD_TARGETS: node.data.cold_targets,
            wire.CATALOGUE: node.data.catalogue_fingerprint,
            wire.NEW_ITEMS: node.data.new_items_fingerprint,
            wire.PARTITION: partition_of(node, context),
            wire.OWN_DATA: "data" in context.node_config,
            wire.SETTINGS: settings_fingerprint(node.config),
        }
    )
    for library, installed in versions_that_matter().items():
        answer[wire.LIBRARY + library] = installed
    for expert, modality in node.modalities.items():
        answer[wire.FEATURE_DIM + expert] = int(modality.values.shape[1])
    return Message(content=RecordDict({wire.CONFIG: answer}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the users that are asked for, each from the model that came, and sum their updates."""
    began = time.monotonic()
    node = load_node(context)
    model = current_model(message, context)
    asked = message.content.config_records[wire.CONFIG]
    with _discretion("training"):
        kept = KeptParts(message, context, node)
        update = node.train(
            model,
            node.task(str(asked[wire.STAGE])),
            int(cast(int, asked[wire.ROUND])),
            cast(list[int], asked[wire.MEMBERS]),
            kept.now,
        )
        arrays = update_record(update, node, context, str(asked[wire.STAGE]))
        kept.keep()
    metrics = MetricRecord(
        {
            wire.WEIGHT: update.weight_sum,
            wire.LOSS: update.loss_sum,
            wire.USERS: update.users,
            wire.SECONDS: time.monotonic() - began,
        }
    )
    content = RecordDict(
        {wire.ARRAYS: arrays, wire.METRICS: metrics, wire.CONFIG: _answered(asked)}
    )
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Rank this node's targets with the model that came; answer with sums of rank statistics."""
    node = load_node(context)
    model = current_model(message, context)
    asked = message.content.config_records[wire.CONFIG]
    with _discretion("evaluation"):
        active = node.task(str(asked[wire.STAGE])).stage.active
        kept = KeptParts(message, context, node)
        sums = node.evaluate(model, active, str(asked[wire.SPLIT]), kept.now)
    content = RecordDict({wire.METRICS: MetricRecord({**sums}), wire.CONFIG: _answered(asked)})
    return Message(content=content, reply_to=message)


def _answered(asked: ConfigRecord) -> ConfigRecord:
    """Which question this is the answer to: the server takes no other."""
    keys = (wire.STAGE, wire.ROUND, wire.SPLIT)
    return ConfigRecord({key: asked[key] for key in keys if key in asked})


@contextmanager
def _discretion(what: str) -> Iterator[None]:
    """Keep the text of an error on the node: Flower would send it to the server. It can name users
    and items, so the node's own log has it at level debug alone, and else where it was raised.
    That an update cannot travel names neither."""
    try:
        yield
    except Unencodable as error:
        raise FedrecError(f"{what}: {error}") from None
    except Exception as error:
        LOG.error("%s failed with %s in %s", what, type(error).__name__, _places(error))
        LOG.debug("what it said", exc_info=True)
        reason = f"{what} failed on this node with {type(error).__name__}; its log says more"
        raise FedrecError(reason) from None


def _places(error: Exception) -> str:
    """`file:line` of the calls that led to an error, the innermost first."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
