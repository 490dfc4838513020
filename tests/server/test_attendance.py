"""Who can be asked: nodes that leave, come back under another id, are new, silent, or all gone."""

from __future__ import annotations

from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from fedrec import wire
from fedrec.errors import FedrecError
from server import attendance
from server.attendance import Attendance
from server.federation import Federation, NodeInfo, gather_federation

pytestmark = pytest.mark.usefixtures("flower_identity")

DIMS = (("visual", 6),)


def info(node: int, partition: int, trainable: int = 5) -> NodeInfo:
    return NodeInfo(node, partition, trainable, 24, "catalogue", DIMS)


def federation(*infos: NodeInfo) -> Federation:
    return Federation(infos or (info(10, 0), info(11, 1), info(12, 2)))


class Nodes:
    """Connected nodes by id; each says what it has, or fails."""

    def __init__(self, **connected: NodeInfo | Error | None) -> None:
        self.said: dict[int, NodeInfo | Error | None] = {
            int(name.removeprefix("n")): said for name, said in connected.items()
        }
        self.queried: list[int] = []

    def get_node_ids(self) -> list[int]:
        return list(self.said)

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        replies = []
        for message in messages:
            said = self.said[message.metadata.dst_node_id]
            self.queried.append(message.metadata.dst_node_id)
            if isinstance(said, Error):
                replies.append(Message(said, reply_to=message))
            elif said is not None:
                replies.append(Message(RecordDict({wire.CONFIG: answer(said)}), reply_to=message))
        return replies


def answer(said: NodeInfo) -> ConfigRecord:
    return ConfigRecord(
        {
            wire.PARTITION: said.partition,
            wire.TRAINABLE: said.trainable,
            wire.HELD_USERS: said.trainable,
            wire.ITEMS: said.num_items,
            wire.CATALOGUE: said.catalogue,
            wire.NEW_ITEMS: said.new_items,
            wire.COLD_TARGETS: said.cold_targets,
            **{wire.FEATURE_DIM + name: width for name, width in said.feature_dims},
        }
    )


def ids(nodes: list[NodeInfo]) -> list[int]:
    return [node.node_id for node in nodes]


def test_only_connected_nodes_are_present() -> None:
    there = Attendance(federation(), Nodes(n12=None, n10=None))

    assert ids(there.present()) == [10, 12]


def test_without_a_grid_everybody_is_present() -> None:
    assert ids(Attendance(federation()).present()) == [10, 11, 12]


def test_a_node_that_comes_back_under_another_id_takes_its_former_place() -> None:
    nodes = Nodes(n10=None, n12=None, n77=info(77, 1))
    there, moved = Attendance(federation(), nodes), []
    there.on_return = lambda former, node: moved.append((former, node.node_id))

    assert ids(there.present()) == [10, 77, 12]
    assert there.federation.population == 15
    assert moved == [(11, 77)]


def test_a_node_cannot_take_the_place_of_one_that_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nodes = Nodes(n10=None, n11=None, n12=None, n77=info(77, 1))
    there = Attendance(federation(), nodes)

    for _ in range(2):
        assert ids(there.present()) == [10, 11, 12]
    assert nodes.queried == [77]
    assert caplog.text.count("node 77 appeared and waits: partition 1 is node 11's") == 1
    there.note([10, 11, 12], set())
    assert ids(there.present()) == [10, 11, 12]
    del nodes.said[11]
    assert ids(there.present()) == [10, 77, 12]
    assert nodes.queried == [77]


def test_a_node_that_waits_and_leaves_is_forgotten() -> None:
    nodes = Nodes(n10=None, n11=None, n12=None, n77=info(77, 1))
    there = Attendance(federation(), nodes)
    there.present()
    del nodes.said[77]
    there.present()

    nodes.said[77] = info(77, 3)
    assert ids(there.present()) == [10, 11, 12, 77]


def test_a_former_id_that_still_counts_as_connected_is_not_asked() -> None:
    """SuperLink notices a lost connection only after a minute; a round may notice it before."""
    nodes = Nodes(n10=None, n11=None, n12=None, n77=info(77, 1))
    there = Attendance(federation(), nodes)
    there.note([10, 11, 12], {11})

    assert ids(there.present()) == [10, 77, 12]
    assert ids(there.present()) == [10, 77, 12]
    assert nodes.queried == [77]


def test_a_node_that_is_new_is_added() -> None:
    there = Attendance(federation(), Nodes(n10=None, n11=None, n12=None, n77=info(77, 3, 4)))

    assert ids(there.present()) == [10, 11, 12, 77]
    assert there.federation.population == 19


@pytest.mark.parametrize(
    "said",
    [Error(2, "no data"), None, NodeInfo(77, 3, 5, 25, "other", DIMS)],
    ids=["error", "silent", "another catalogue"],
)
def test_a_node_that_cannot_take_part_is_asked_once(said: NodeInfo | Error | None) -> None:
    nodes = Nodes(n10=None, n11=None, n77=said)
    there = Attendance(federation(), nodes)

    for _ in range(3):
        assert ids(there.present()) == [10, 11]
    assert nodes.queried == [77]
    del nodes.said[77]
    there.present()
    nodes.said[77] = info(77, 2)
    assert ids(there.present()) == [10, 11, 77]


def rounds_asked(there: Attendance, slow: int, answers: set[int], count: int) -> list[int]:
    """In which of the rounds 1 to `count` a node is asked that answers only in those named."""
    asked = []
    for number in range(1, count + 1):
        there.begin_round()
        now = ids(there.rested(there.present(), 2))
        if slow in now:
            asked.append(number)
        there.note(now, {slow} & set(now) if number not in answers else set())
    return asked


def test_a_slow_node_is_asked_less_and_less_often() -> None:
    there = Attendance(federation(), Nodes(n10=None, n11=None, n12=None))

    assert rounds_asked(there, 11, set(), 48) == [1, 2, 4, 8, 16, 32]


def test_a_node_that_is_always_slow_is_asked_every_seventeenth_round_at_least() -> None:
    there = Attendance(federation(), Nodes(n10=None, n11=None, n12=None))

    assert rounds_asked(there, 11, set(), 90)[-4:] == [32, 49, 66, 83]


def test_an_answer_makes_a_slow_node_one_like_the_others() -> None:
    there = Attendance(federation(), Nodes(n10=None, n11=None, n12=None))

    assert rounds_asked(there, 11, {4}, 8) == [1, 2, 4, 5, 6, 8]


def test_nobody_is_spared_where_too_few_would_remain() -> None:
    there = Attendance(federation(), Nodes(n10=None, n11=None, n12=None))
    for _ in range(2):
        there.note([10, 11, 12], {10, 11})

    assert ids(there.rested(there.present(), 1)) == [12]
    assert ids(there.rested(there.present(), 2)) == [10, 11, 12]


class Clock:
    """A monotonic clock that only sleeping moves; `at` says what happens when."""

    def __init__(self) -> None:
        self.now, self.at = 0.0, dict[float, Any]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for when in [when for when in self.at if when <= self.now]:
            self.at.pop(when)()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(attendance, "time", made)
    return made


def test_a_round_waits_for_nodes_to_come_back_and_says_so(clock: Clock) -> None:
    nodes, told = Nodes(), list[str]()
    there = Attendance(federation(), nodes, patience_s=90.0)
    clock.at[40.0] = lambda: nodes.said.update({10: None, 11: None})

    present = there.wait_until(lambda found: len(found) >= 2, told.append, "round 7")

    assert ids(present) == [10, 11]
    assert clock.now == 40.0
    assert told == ["round 7: 0 of 3 nodes are connected, too few; waiting up to 90 s for more"]


def test_a_round_gives_up_on_nodes_that_stay_away(clock: Clock) -> None:
    there = Attendance(federation(), Nodes(n10=None), patience_s=90.0)

    with pytest.raises(FedrecError, match=r"round 7: 1 of 3 .* too few for 90 s .*--resume"):
        there.wait_until(lambda found: len(found) >= 2, lambda text: None, "round 7")
    assert clock.now == 90.0


def test_nodes_alike_have_names_of_their_own() -> None:
    nodes = federation(info(10, 0), info(11, 0), info(12, 0, 3))

    assert nodes.names() == {10: "0/5/1", 11: "0/5/2", 12: "0/3/1"}


def test_a_resumed_run_starts_with_enough_nodes() -> None:
    nodes = Nodes(n10=info(10, 0), n11=info(11, 1))
    wanted = {"nodes": 3, "timeout_s": 0.0, "reply_timeout_s": 1.0}

    assert len(gather_federation(nodes, **wanted, enough=2).nodes) == 2
    with pytest.raises(FedrecError, match="2 of 3 nodes registered within 0 s"):
        gather_federation(nodes, **wanted)


def test_a_node_that_does_not_fit_the_server_is_not_taken_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def check(node: NodeInfo) -> None:
        raise FedrecError(f"node of partition {node.partition} runs torch 0.1")

    nodes = Nodes(n10=None, n11=None, n12=None, n77=info(77, 3, 4))
    there = Attendance(federation(), nodes, check=check)

    assert ids(there.present()) == [10, 11, 12]
    assert "partition 3 runs torch 0.1" in caplog.text
