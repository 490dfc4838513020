"""What users keep goes back to the best round with the model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from client.personal import KeptParts
from fedrec import wire
from fedrec.config import Config
from fedrec.training.node import Node
from tests.client.kept import KEEPS
from tests.whole import untrained_model, whole_node

Configure = Callable[..., Config]
Federate = Callable[..., Any]


@pytest.fixture
def node(small_config: Configure) -> Node:
    return whole_node(small_config(KEEPS))


@pytest.fixture
def tell(node: Node, flower_identity: None) -> Callable[..., KeptParts]:
    """(stage, round, best, split) -> what the node's users keep by then."""
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})

    def tell(stage: str, number: int, best: int, split: str | None = None) -> KeptParts:
        about = {wire.STAGE: stage, wire.ROUND: number, wire.BEST: best}
        about |= {wire.SPLIT: split} if split else {}
        content = RecordDict({wire.CONFIG: ConfigRecord(about)})
        kind = "evaluate" if split else "train"
        return KeptParts(Message(content, dst_node_id=2, message_type=kind), context, node)

    return tell


def train(kept: KeptParts, node: Node, number: int) -> None:
    """User 3's gate becomes the round's number."""
    assert kept.now is not None
    model = untrained_model(node.config)
    users = np.array([3])
    rows = kept.now.rows(model, users)
    rows.values["gate"][:] = number
    kept.now.put(model, users, rows)
    kept.keep()


def gate(kept: KeptParts, node: Node) -> float:
    """User 3's."""
    assert kept.now is not None
    return float(kept.now.rows(untrained_model(node.config), np.array([3])).values["gate"])


def test_the_test_is_of_what_was_kept_in_the_best_round(tell, node, caplog) -> None:
    """Rounds 1 to 4; round 2 was the best, which the node hears when round 3 begins."""
    for number, best in ((1, 0), (2, 1), (3, 2), (4, 2)):
        train(tell("routing", number, best), node, number)
    assert gate(tell("routing", 4, 2, "validation"), node) == 4
    assert gate(tell("routing", 4, 2, "test"), node) == 2
    assert not caplog.records


def test_a_node_that_rests_hears_it_when_it_is_asked_again(tell, node, caplog) -> None:
    train(tell("routing", 1, 0), node, 1)
    train(tell("routing", 9, 6), node, 9)  # it did not train from 2 to 8
    assert gate(tell("routing", 9, 6, "test"), node) == 1
    assert not caplog.records


def test_a_last_round_that_is_the_best_is_kept(tell, node) -> None:
    train(tell("routing", 1, 0), node, 1)
    tell("routing", 1, 0, "validation")
    assert gate(tell("routing", 1, 1, "test"), node) == 1


def test_without_any_better_round_there_is_what_the_stage_began_with(tell, node) -> None:
    train(tell("alignment", 1, 0), node, 1)
    train(tell("routing", 1, 0), node, 2)
    assert gate(tell("routing", 1, 0, "test"), node) == 0.0  # of alignment no round was best


def test_a_stage_begins_with_the_best_round_of_the_one_before(tell, node) -> None:
    for number, best in ((1, 0), (2, 1)):
        train(tell("alignment", number, best), node, number)
    assert gate(tell("routing", 1, 0), node) == 1
    assert gate(tell("routing", 1, 0, "test"), node) == 1


def test_a_node_that_heard_too_late_says_so_and_keeps_what_it_has(tell, node, caplog) -> None:
    train(tell("routing", 1, 0), node, 1)
    train(tell("routing", 3, 0), node, 3)
    with caplog.at_level(logging.WARNING):
        assert gate(tell("routing", 4, 2, "test"), node) == 3
        tell("routing", 4, 2, "test")
    assert [record.message for record in caplog.records] == [
        "this node did not hear in time that round 2 was the best; what its users keep of round 3 "
        "counts as that"
    ]


def test_a_node_without_its_state_begins_at_zero_and_says_so(tell, node, caplog) -> None:
    assert gate(tell("routing", 7, 5, "test"), node) == 0.0
    (record,) = caplog.records
    assert "they begin at zero again" in record.message


def test_a_training_that_fails_leaves_what_was_kept(tell, node) -> None:
    train(tell("routing", 1, 0), node, 1)
    tell("routing", 2, 1)  # and nothing is noted
    assert gate(tell("routing", 2, 1, "validation"), node) == 1
