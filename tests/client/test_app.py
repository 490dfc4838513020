"""What a node answers, and that nothing else leaves it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from client.app import app
from fedrec import wire
from fedrec.checkpoints import Arrays, fingerprint
from fedrec.checkpoints.tensors import by_group, model_arrays
from fedrec.config import Config, settings_fingerprint
from fedrec.data import PreparedData, partition_users
from fedrec.evaluation.metrics import METRICS
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.model.feddmmr import FedDMMR
from fedrec.stages import STAGES, stage_groups
from fedrec.training.node import Node
from fedrec.versions import versions_that_matter
from server.transport import from_record, payload_bytes, to_record
from tests.whole import whole_node

Configure = Callable[..., Config]
Federate = Callable[..., Any]
NodeOf = Callable[[Config], Callable[..., Message]]


@pytest.fixture
def node_of(loopback: Callable[..., Any], model: FedDMMR) -> NodeOf:
    """config -> (kind, stage, asked) -> the reply of the one node with all users, in round 1."""

    def start(config: Config) -> Callable[..., Message]:
        (context,) = loopback(config, 1).contexts.values()

        def ask(kind: str, stage: str, **asked: Any) -> Message:
            arrays, frozen = split(model_arrays(model), stage)
            about = {
                wire.STAGE: stage,
                wire.ROUND: 1,
                wire.FROZEN_FINGERPRINT: fingerprint(frozen),
                **asked,
            }
            content = RecordDict({wire.CONFIG: ConfigRecord(about)})
            content[wire.ARRAYS], content[wire.FROZEN] = to_record(arrays), to_record(frozen)
            return app(Message(content, dst_node_id=context.node_id, message_type=kind), context)

        return ask

    return start


@pytest.fixture
def node(small_config: Configure, node_of: NodeOf) -> Callable[..., Message]:
    """The same under the small configuration."""
    return node_of(small_config())


def split(arrays: Arrays, stage: str) -> tuple[Arrays, Arrays]:
    """What a stage trains, and what it freezes."""
    groups = by_group(arrays)
    trained = stage_groups(STAGES[stage], groups)
    return (
        {n: v for g, part in groups.items() if g in trained for n, v in part.items()},
        {n: v for g, part in groups.items() if g not in trained for n, v in part.items()},
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_training_reply_holds_sums_of_what_trains_and_four_numbers(
    node: Callable[..., Message], model: FedDMMR, stage: str
) -> None:
    """What the server learns of a node in a round: one sum over its users per parameter, and how
    much these weigh, lose and are, and how long it took. No user and no list of items.

    It learns more from a small cohort: with one user in it, the sum is this user's update."""
    reply = node("train", stage, members=[0, 3, 5])

    assert set(reply.content) == {wire.ARRAYS, wire.METRICS, wire.CONFIG}
    arrays, metrics = reply.content[wire.ARRAYS], reply.content[wire.METRICS]
    assert isinstance(arrays, ArrayRecord)
    assert isinstance(metrics, MetricRecord)
    assert set(metrics) == {wire.WEIGHT, wire.LOSS, wire.USERS, wire.SECONDS}
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert metrics[wire.USERS] == 3
    trained, _ = split(model_arrays(model), stage)
    assert {name: array.numpy().shape for name, array in arrays.items()} == {
        name: value.shape for name, value in trained.items()
    }
    assert all(array.numpy().dtype == np.float32 for array in arrays.values())


@pytest.mark.parametrize("members", [[4], [0, 3, 5]])
def test_rows_of_the_item_update_are_those_the_users_touched_and_no_others(
    node: Callable[..., Message], small_config: Configure, members: list[int]
) -> None:
    """What the rows of `item_embedding` reveal: a row is zero unless some user of the cohort met
    the item in training, as an input, a target or a negative. So the server learns a superset of
    the items of the cohort's training histories, blurred by the negatives (8 a user here) and by
    whoever trains beside; with one user and few negatives it learns almost the history itself.
    Hiding the rows needs dense noise or secure aggregation, which is not built yet. What is held
    out for validation and test is in no row, unless drawn as a negative like any other item."""
    reply = node("train", "backbone", members=members)
    update = from_record(reply.content[wire.ARRAYS])["item_embedding.weight"]

    local = whole_node(small_config())
    batch = local._step(local.trainable[members], local.task("backbone"), 1, 0)  # the same draws
    touched = set(np.flatnonzero(update.any(axis=1)).tolist())
    named = {*batch.item_ids.flatten().tolist(), *batch.targets.flatten().tolist()}
    negatives = set(batch.negatives.flatten().tolist())
    histories = {
        item for user in local.trainable[members] for item in local.data.train_items(user).tolist()
    }
    assert named - {0} == histories
    assert touched == (histories | negatives) - {0}


def test_updates_of_other_groups_are_of_no_items_size(node: Callable[..., Message]) -> None:
    """Nothing but the item table has a row an item: no other array could list what was seen."""
    rows = 24 + 1
    for stage in ("alignment", "routing"):
        arrays = from_record(node("train", stage, members=[0, 3]).content[wire.ARRAYS])
        assert all(rows not in value.shape for value in arrays.values())


@pytest.mark.parametrize("split_name", ["validation", "test"])
def test_an_evaluation_reply_holds_sums_and_counts_by_known_keys(
    node: Callable[..., Message], small_config: Configure, split_name: str
) -> None:
    reply = node("evaluate", "backbone", split=split_name)

    assert set(reply.content) == {wire.METRICS, wire.CONFIG}
    metrics = reply.content[wire.METRICS]
    prefixes = [f"{split_name}/{protocol}" for protocol in PROTOCOLS]
    sums = {f"{prefix}/{metric}/sum" for prefix in prefixes for metric in METRICS}
    counts = {f"{prefix}/users" for prefix in prefixes}
    assert set(metrics) == sums | counts
    assert all(isinstance(value, float) for value in metrics.values())
    assert {metrics[count] for count in counts} == {12.0}


def test_a_description_holds_counts_widths_and_a_fingerprint(
    small_config: Configure, loopback: Callable[..., Any]
) -> None:
    config = small_config()
    grid = loopback(config, 2)
    asked = Message(RecordDict(), dst_node_id=999, message_type="query")

    (reply,) = grid.send_and_receive([asked])

    assert set(reply.content) == {wire.CONFIG}
    data = PreparedData.load(config.run.data)
    held = partition_users(data.train_end, 1, 2)
    assert dict(reply.content[wire.CONFIG]) == {
        wire.PARTITION: 1,
        wire.TRAINABLE: int((data.train_end[held.start : held.stop] >= 2).sum()),
        wire.HELD_USERS: len(held),
        wire.ITEMS: 24,
        wire.CATALOGUE: data.catalogue_fingerprint,
        wire.NEW_ITEMS: "none",
        wire.COLD_TARGETS: False,
        wire.FEATURE_DIM + "visual": 6,
        wire.FEATURE_DIM + "semantic": 5,
        wire.OWN_DATA: False,
        wire.SETTINGS: settings_fingerprint(config),
        **{wire.LIBRARY + name: found for name, found in versions_that_matter().items()},
    }


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_an_error_leaves_without_its_text(
    node: Callable[..., Message],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Flower sends the text of an exception to the server, and texts of ours name users."""

    def fail(*args: object) -> None:
        raise RuntimeError("scores of user 9017 after item 4 are NaN")  # no line has it

    monkeypatch.setattr(Node, kind, fail)
    caplog.set_level(logging.DEBUG, "client")

    with pytest.raises(Exception, match="RuntimeError") as caught:
        node(kind, "backbone", members=[0], split="test")

    assert "9017" not in str(caught.value)
    assert caught.value.__cause__ is None
    told, asked_for = caplog.records[-2:]
    assert told.levelno == logging.ERROR
    assert "failed with RuntimeError in test_app.py:" in told.getMessage()
    assert "9017" not in told.getMessage() and told.exc_info is None
    assert asked_for.levelno == logging.DEBUG  # its owner may ask for it
    assert "scores of user 9017" in caplog.text


def test_an_update_that_cannot_be_encoded_says_so(small_config: Configure, node_of: NodeOf) -> None:
    """Where a rate is too high int8 has no scale left. No user is named by that."""
    diverges = {"federation.transport": "int8", "training.local_learning_rate": 1e30}
    with pytest.raises(Exception, match=r"training: .* can(not)? be encoded"):
        node_of(small_config(diverges))("train", "backbone", members=[0, 3, 5])


def test_all_that_left_the_nodes_in_a_whole_run(
    federate: Federate, small_config: Configure
) -> None:
    """Every reply of all three stages: no record beyond those above, and a size that depends on
    what was asked and not on who answered."""
    runner, grid = federate(small_config(), 3)
    for stage in STAGES.values():
        runner.run(stage)

    allowed = {
        "query": {wire.CONFIG},
        "train": {wire.ARRAYS, wire.METRICS, wire.CONFIG},
        "evaluate": {wire.METRICS, wire.CONFIG},
    }
    sizes: dict[tuple[str, ...], set[int]] = {}
    for asked, reply in zip(grid.sent, grid.received, strict=True):
        kind = reply.metadata.message_type
        assert set(reply.content) == allowed[kind]
        about = asked.content[wire.CONFIG]
        question = (kind, about.get(wire.STAGE, ""), about.get(wire.SPLIT, ""))
        sizes.setdefault(question, set()).add(payload_bytes([reply]))
    assert len(sizes) == 1 + 3 + 3 * 2
    assert all(len(found) == 1 for found in sizes.values()), sizes


# ----------------------------------------------------------------------------- the frozen groups


def test_frozen_groups_are_kept_between_messages(
    federate: Federate, small_config: Configure
) -> None:
    runner, grid = federate(small_config(), 2)

    runner.run(STAGES["backbone"])

    carried = [m.metadata.dst_node_id for m in grid.sent if wire.FROZEN in m.content]
    assert sorted(carried) == [999, 1000]
    assert not any(reply.has_error() for reply in grid.received)


def test_a_node_that_lost_its_state_says_so_and_is_sent_it_again(
    federate: Federate, small_config: Configure
) -> None:
    changes = {"stages.backbone.rounds": 4, "evaluation.every": 4, "federation.min_replies": 0.5}
    runner, grid = federate(small_config(changes), 2)

    def lose_state(messages: list[Message]) -> None:
        if messages and messages[0].content[wire.CONFIG].get(wire.ROUND) == 2:
            grid.contexts[1000].state = RecordDict()

    grid.before = lose_state
    runner.run(STAGES["backbone"])

    errors = [reply for reply in grid.received if reply.has_error()]
    assert len(errors) == 1
    assert "does not hold the frozen groups" in errors[0].error.reason
    sent_again = [
        m.content[wire.CONFIG][wire.ROUND]
        for m in grid.sent
        if wire.FROZEN in m.content and m.metadata.dst_node_id == 1000
    ]
    assert sent_again == [1, 2]  # it is asked once more in the same round


def test_frozen_groups_of_another_stage_are_not_taken_for_those_of_this(
    federate: Federate, small_config: Configure
) -> None:
    runner, grid = federate(small_config(), 1)
    runner.run(STAGES["backbone"])
    last = next(m for m in reversed(grid.sent) if m.metadata.message_type == "train")
    last.content[wire.CONFIG][wire.FROZEN_FINGERPRINT] = "f" * 64

    (reply,) = grid.send_and_receive([last])

    assert reply.has_error()
    assert "does not hold the frozen groups" in reply.error.reason


def test_what_a_message_brings_is_what_is_trained(
    federate: Federate, small_config: Configure
) -> None:
    """The process's model is shared by its nodes; nothing of the last message may shine through."""
    runner, grid = federate(small_config(), 2)
    runner.run(STAGES["backbone"])
    first = [m for m in grid.sent if m.metadata.message_type == "train"][:2]

    once = grid.send_and_receive(first)
    grid.send_and_receive([m for m in grid.sent if m.metadata.message_type == "train"][2:4])
    again = grid.send_and_receive(first)

    for before, after in zip(once, again, strict=True):
        for name, value in from_record(before.content[wire.ARRAYS]).items():
            after_value = from_record(after.content[wire.ARRAYS])[name]
            np.testing.assert_array_equal(value, after_value)
