"""Who is left out of a run, and how that is remembered."""

from __future__ import annotations

import json

import pytest

from server.federation import Federation, NodeInfo
from server.strikes import Strikes


def node(node_id: int, partition: int) -> NodeInfo:
    return NodeInfo(node_id, partition, 3, 24, "c", ())


def struck(strikes: Strikes, one: NodeInfo, times: int) -> list[bool]:
    return [
        strikes.strike(one, stage="backbone", round_number=number, reason=f"reason {number}")
        for number in range(1, times + 1)
    ]


def test_the_third_refusal_leaves_a_node_out() -> None:
    strikes, bad, good = Strikes(3), node(1, 0), node(2, 1)

    assert struck(strikes, bad, 4) == [False, False, True, False]

    assert strikes.out(bad.node_id)
    assert not strikes.out(good.node_id)
    (told,) = strikes.left_out()
    assert told == {
        "node_id": 1, "partition": 0, "strikes": 4, "stage": "backbone", "round": 4,
        "reason": "reason 4",
    }  # fmt: skip


def test_no_number_of_refusals_leaves_anybody_out_where_none_is_named() -> None:
    strikes = Strikes(0)

    assert not any(struck(strikes, node(1, 0), 50))

    assert not strikes.out(1)
    assert strikes.count(1) == 50


def test_what_is_saved_comes_back() -> None:
    strikes, nodes = Strikes(2), (node(1, 0), node(2, 1), node(3, 2))
    struck(strikes, nodes[0], 2)
    struck(strikes, nodes[1], 1)

    fresh = Strikes(2)
    fresh.restore(json.loads(json.dumps(strikes.saved())), Federation(nodes))

    assert [fresh.count(one.node_id) for one in nodes] == [2, 1, 0]
    assert fresh.left_out() == strikes.left_out()


def test_a_node_of_another_id_is_known_by_its_partition() -> None:
    strikes = Strikes(1)
    struck(strikes, node(1, 0), 1)

    fresh = Strikes(1)
    fresh.restore(strikes.saved(), Federation((node(11, 0), node(12, 1))))

    assert fresh.out(11)
    assert not fresh.out(12)
    assert fresh.left_out()[0]["node_id"] == 11


def test_a_partition_that_several_nodes_have_says_nothing() -> None:
    strikes = Strikes(1)
    struck(strikes, node(1, 0), 1)

    fresh = Strikes(1)
    fresh.restore(strikes.saved(), Federation((node(11, 0), node(12, 0))))

    assert fresh.saved() == []


@pytest.mark.parametrize("saved", [5, [5], [{"node_id": 1}], [{"hospital": 7}]])
def test_what_was_never_saved_is_refused(saved: object) -> None:
    with pytest.raises(TypeError):
        Strikes(1).restore(saved, Federation((node(1, 0),)))  # type: ignore[arg-type]
