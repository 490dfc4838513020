"""Who is there, whether they fit together, and how users are dealt to nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedrec import wire
from fedrec.config import Config
from fedrec.errors import FedrecError
from server import federation
from server.federation import Federation, NodeInfo, gather_federation

pytestmark = pytest.mark.usefixtures("flower_identity")

GOOD: dict[str, Any] = {
    wire.PARTITION: 0,
    wire.TRAINABLE: 5,
    wire.HELD_USERS: 6,
    wire.ITEMS: 24,
    wire.CATALOGUE: "a" * 64,
    wire.NEW_ITEMS: "none",
    wire.COLD_TARGETS: False,
    wire.FEATURE_DIM + "visual": 6,
    wire.FEATURE_DIM + "semantic": 5,
}


class AnsweringGrid:
    """Nodes by id, each with what it says of itself, an error, or None where it is silent."""

    def __init__(self, answers: dict[int, dict[str, Any] | Error | None], appear_after: int = 0):
        self.answers, self.looks, self.appear_after = answers, 0, appear_after
        self.timeout: float | None = None

    def get_node_ids(self) -> list[int]:
        self.looks += 1
        return list(self.answers) if self.looks > self.appear_after else list(self.answers)[:1]

    def send_and_receive(self, messages: list[Message], *, timeout: float) -> list[Message]:
        self.timeout = timeout
        replies = []
        for message in messages:
            assert message.metadata.message_type == "query"
            answer = self.answers[message.metadata.dst_node_id]
            if isinstance(answer, Error):
                replies.append(Message(answer, reply_to=message))
            elif answer is not None:
                content = RecordDict({wire.CONFIG: ConfigRecord({**GOOD, **answer})})
                replies.append(Message(content, reply_to=message))
        return replies[::-1]


def gather(grid: AnsweringGrid, nodes: int | None = None) -> Federation:
    return gather_federation(
        grid,  # type: ignore[arg-type]
        nodes=len(grid.answers) if nodes is None else nodes,
        timeout_s=0.05,
        reply_timeout_s=7.0,
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "_POLL_S", 0.01)


def test_nodes_are_in_the_order_of_their_partitions() -> None:
    grid = AnsweringGrid({7: {wire.PARTITION: 2}, 9: {wire.PARTITION: 0}, 8: {wire.PARTITION: 1}})

    found = gather(grid)

    assert [node.node_id for node in found.nodes] == [9, 8, 7]
    assert found.population == 15
    assert found.nodes[0].feature_dims == (("semantic", 5), ("visual", 6))
    assert grid.timeout == 7.0


def test_nodes_that_name_no_partition_have_an_order_too() -> None:
    answers: dict[int, Any] = {7: {}, 9: {}, 8: {}}

    assert [node.node_id for node in gather(AnsweringGrid(answers)).nodes] == [7, 8, 9]


def test_a_federation_waits_for_its_nodes() -> None:
    grid = AnsweringGrid({1: {}, 2: {wire.PARTITION: 1}}, appear_after=3)

    assert len(gather(grid).nodes) == 2


UNFIT = {
    "a trillion users": ({wire.HELD_USERS: 10**12}, "held-users is 1000000000000"),
    "fewer than no users": ({wire.TRAINABLE: -1}, "trainable is -1"),
    "half a user": ({wire.TRAINABLE: 0.5}, "trainable is 0.5"),
    "a partition by name": ({wire.PARTITION: "first"}, "partition is 'first'"),
    "a list of items": ({wire.ITEMS: [24]}, "items is"),
    "a catalogue of a book's length": ({wire.CATALOGUE: "a" * 10**6}, "catalogue is 'aaa"),
    "a catalogue that ends a line": ({wire.CATALOGUE: "a\nb"}, "catalogue is"),
    "cold targets as a number": ({wire.COLD_TARGETS: 3}, "cold-targets is 3"),
    "a width below zero": ({wire.FEATURE_DIM + "visual": -6}, "feature-dim/visual is -6"),
}


@pytest.mark.parametrize(("said", "reason"), UNFIT.values(), ids=UNFIT.keys())
def test_a_node_that_says_what_cannot_be(said: dict[str, Any], reason: str) -> None:
    with pytest.raises(FedrecError, match=f"1 of 2 nodes are not ready: {reason}"):
        gather(AnsweringGrid({1: {}, 2: {wire.PARTITION: 1, **said}}))


@pytest.mark.parametrize("missing", sorted({*GOOD} - {f"{wire.FEATURE_DIM}visual"}))
def test_a_node_that_does_not_say_enough(missing: str) -> None:
    class Forgetful(AnsweringGrid):
        def send_and_receive(self, messages: list[Message], *, timeout: float) -> list[Message]:
            replies = super().send_and_receive(messages, timeout=timeout)
            for reply in replies:
                reply.content[wire.CONFIG].pop(missing)
            return replies

    if missing.startswith(wire.FEATURE_DIM):
        assert len(gather(Forgetful({1: {}})).nodes[0].feature_dims) == 1
        return
    with pytest.raises(FedrecError, match=f"not ready: it does not .*'{missing}' is missing"):
        gather(Forgetful({1: {}}))


def test_nodes_beyond_those_required_take_part() -> None:
    grid = AnsweringGrid({1: {}, 2: {wire.PARTITION: 1}, 3: {wire.PARTITION: 2}})

    assert len(gather(grid, nodes=2).nodes) == 3


def test_too_few_nodes_in_time() -> None:
    with pytest.raises(FedrecError, match=r"1 of 3 nodes registered within 0.05 s"):
        gather(AnsweringGrid({1: {}}), nodes=3)


def test_a_node_that_answers_with_an_error() -> None:
    grid = AnsweringGrid({1: {}, 2: Error(2, "no prepared data at /nowhere")})

    with pytest.raises(FedrecError, match=r"1 of 2 nodes are not ready: no prepared data at /now"):
        gather(grid)


def test_a_node_that_does_not_answer() -> None:
    with pytest.raises(FedrecError, match=r"1 of 2 nodes are not ready: no answer in 7 s"):
        gather(AnsweringGrid({1: {}, 2: None}))


@pytest.mark.parametrize(
    "other",
    [
        {wire.CATALOGUE: "b" * 64},
        {wire.ITEMS: 25},
        {wire.FEATURE_DIM + "visual": 7},
        {wire.FEATURE_DIM + "sound": 3},
    ],
)
def test_nodes_with_different_catalogues(other: dict[str, Any]) -> None:
    grid = AnsweringGrid({1: {}, 2: {wire.PARTITION: 1, **other}})

    with pytest.raises(FedrecError, match=r"partition 1 has .* partition 0 has .* one catalogue"):
        gather(grid)


def test_nodes_with_different_new_items() -> None:
    grid = AnsweringGrid({1: {}, 2: {wire.PARTITION: 1, wire.NEW_ITEMS: "c" * 64}})

    with pytest.raises(FedrecError, match=r"rank among different new items \(none, c{12}\)"):
        gather(grid)


def test_nobody_who_can_train() -> None:
    nobody = {wire.TRAINABLE: 0}

    with pytest.raises(FedrecError, match="none of the 2 nodes has a user with enough history"):
        gather(AnsweringGrid({1: nobody, 2: {**nobody, wire.PARTITION: 1}}))


def test_a_node_without_trainable_users_is_no_fault_while_others_have_some() -> None:
    grid = AnsweringGrid({1: {wire.TRAINABLE: 0}, 2: {wire.PARTITION: 1}})

    assert gather(grid).population == 5


def test_real_nodes_describe_themselves(
    small_config: Callable[..., Config], loopback: Callable[..., Any]
) -> None:
    config = small_config()

    found = gather_federation(loopback(config, 3), nodes=3, timeout_s=1.0, reply_timeout_s=1.0)

    assert [node.partition for node in found.nodes] == [0, 1, 2]
    assert found.population == 13  # 14 users, one of them with a single interaction
    assert found.nodes[0].num_items == 24
    assert dict(found.nodes[0].feature_dims) == {"visual": 6, "semantic": 5}


def test_nodes_with_a_data_folder_that_is_not_there(
    small_config: Callable[..., Config], loopback: Callable[..., Any]
) -> None:
    grid = loopback(small_config(run={"data": "/nowhere"}), 2)

    with pytest.raises(FedrecError, match=r"2 of 2 nodes are not ready: .*/nowhere"):
        gather_federation(grid, nodes=2, timeout_s=1.0, reply_timeout_s=1.0)


partitions = st.lists(st.integers(0, 6), min_size=1, max_size=8).filter(lambda p: sum(p) > 0)


@given(partitions, st.integers(0, 50), st.integers(1, 100))
def test_a_cohort_covers_its_users_once_whatever_the_partition(
    partition: list[int], size: int, number: int
) -> None:
    nodes = tuple(NodeInfo(i, i, users, 1, "c", ()) for i, users in enumerate(partition))
    whole = Federation((NodeInfo(0, 0, sum(partition), 1, "c", ()),))
    starts = np.concatenate(([0], np.cumsum(partition)))

    drawn = [
        int(starts[node.node_id]) + member
        for node, members in Federation(nodes).cohort(3, "backbone", number, size)
        for member in members
    ]

    assert drawn == next(whole.cohort(3, "backbone", number, size))[1]
    assert len(set(drawn)) == min(size or sum(partition), sum(partition))


def test_a_node_without_trainable_users_is_never_in_a_cohort() -> None:
    nodes = tuple(NodeInfo(i, i, users, 1, "c", ()) for i, users in enumerate([0, 3, 0]))

    asked = [node.node_id for node, _ in Federation(nodes).cohort(0, "backbone", 1, 2)]

    assert asked == [1]
