"""Deadlines that no change of the wall clock moves, and answers that come late."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flwr.app import Error, Message, MessageType, RecordDict

from fedrec.config import FederationConfig
from server import patient_grid
from server.patient_grid import PatientGrid

pytestmark = pytest.mark.usefixtures("flower_identity")


class Clocks:
    """A monotonic clock that only sleeping moves, and a wall clock that somebody sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class SuperLink:
    """Answers of node n come n seconds after its message; node 0 never answers."""

    def __init__(self, clocks: Clocks) -> None:
        self.clocks, self.sent = clocks, dict[str, tuple[float, Message]]()
        self.polls = 0

    def get_node_ids(self) -> list[int]:
        return [1, 2]

    def push_messages(self, messages: list[Message]) -> list[str | None]:
        ids: list[str | None] = []
        for message in messages:
            node = message.metadata.dst_node_id
            ids.append(None if node == 404 else f"{len(self.sent)}-{node}")
            if ids[-1] is not None:
                message.metadata.__dict__["_message_id"] = ids[-1]
                self.sent[str(ids[-1])] = (self.clocks.now + (node or 1e9), message)
        return ids

    def pull_messages(self, message_ids: set[str]) -> list[Message]:
        self.polls += 1
        ready = [i for i in message_ids if i in self.sent and self.sent[i][0] <= self.clocks.now]
        return [self.reply(self.sent.pop(message_id)[1]) for message_id in ready]

    def reply(self, message: Message) -> Message:
        return Message(RecordDict(), reply_to=message)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(patient_grid, "time", made)
    return made


def asked(*nodes: int, kind: str = MessageType.TRAIN) -> list[Message]:
    return [Message(RecordDict(), dst_node_id=node, message_type=kind) for node in nodes]


def answered(replies: list[Message]) -> list[int]:
    return sorted(reply.metadata.src_node_id for reply in replies)


def patient(clocks: Clocks, **deadlines: float) -> tuple[PatientGrid, SuperLink]:
    link = SuperLink(clocks)
    return PatientGrid(link, FederationConfig(**deadlines)), link  # type: ignore[arg-type]


def test_a_round_ends_with_the_last_answer(clocks: Clocks) -> None:
    grid, link = patient(clocks)

    assert answered(grid.send_and_receive(asked(2, 3))) == [2, 3]
    assert 3.0 <= clocks.now < 3.2
    assert link.polls < 150


def test_a_round_closes_at_its_deadline_without_who_is_slow(clocks: Clocks) -> None:
    grid, _ = patient(clocks, round_timeout_s=5.0, evaluation_timeout_s=9.0)

    assert answered(grid.send_and_receive(asked(2, 7))) == [2]
    assert clocks.now == 5.0
    evaluated = grid.send_and_receive(asked(8, kind=MessageType.EVALUATE))
    assert answered(evaluated) == [8]
    assert grid.send_and_receive(asked(0), timeout=1.0) == []


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_clock_that_jumps_changes_no_deadline(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + (jump if clocks.now > 1 else 0.0))
    grid, _ = patient(clocks, round_timeout_s=5.0)

    assert answered(grid.send_and_receive(asked(2, 0))) == [2]
    assert clocks.now == 5.0


def test_an_answer_that_comes_late_is_taken_off_and_given_to_nobody(clocks: Clocks) -> None:
    grid, link = patient(clocks, round_timeout_s=5.0)

    grid.send_and_receive(asked(7))
    assert answered(grid.send_and_receive(asked(4))) == [4]
    assert link.sent == {}


def test_who_answers_while_another_stalls_is_heard(clocks: Clocks) -> None:
    """Node 1 stalls in mid-upload: the look at its answer takes a minute, the round has 5 s."""
    grid, link = patient(clocks, round_timeout_s=5.0)
    reply = link.reply

    def stalling(message: Message) -> Message:
        clocks.now += 60.0 if message.metadata.dst_node_id == 1 else 0.0
        return reply(message)

    link.reply = stalling  # type: ignore[method-assign]
    assert answered(grid.send_and_receive(asked(1, 3, 0))) == [1, 3]
    assert 61.0 <= clocks.now < 62.0


def test_a_node_that_cannot_be_written_to_is_not_waited_for(clocks: Clocks) -> None:
    grid, _ = patient(clocks)

    assert answered(grid.send_and_receive(asked(1, 404))) == [1]
    assert clocks.now < 1.2


def test_what_superlink_says_in_the_place_of_a_node_is_no_answer(clocks: Clocks) -> None:
    """It answers for a node that has left, so that nobody waits."""
    grid, link = patient(clocks)

    def unavailable(message: Message) -> Message:
        reply = Message(Error(4, "node unavailable"), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = 1 << 60
        return reply

    link.reply = unavailable  # type: ignore[method-assign]
    assert grid.send_and_receive(asked(2)) == []
    assert clocks.now < 2.2


def test_nothing_to_say_takes_no_time(clocks: Clocks) -> None:
    grid, link = patient(clocks)

    assert grid.send_and_receive([]) == []
    assert link.polls == 0


class Fake:
    """A grid with a way of its own."""

    def __init__(self) -> None:
        self.timeouts: list[float] = []

    def send_and_receive(self, messages: Any, *, timeout: float) -> list[Message]:
        self.timeouts.append(timeout)
        return list(messages)


def test_a_grid_that_only_sends_and_receives_is_told_the_deadline() -> None:
    fake = Fake()
    grid = PatientGrid(fake, FederationConfig(round_timeout_s=5.0))  # type: ignore[arg-type]

    assert len(grid.send_and_receive(asked(1))) == 1
    assert fake.timeouts == [5.0]
