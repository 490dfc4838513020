"""A node that answers many messages in one process, and goes on after any of them fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.task_identity import TaskIdentity

from client import node_cache, warm
from client.pace import Pace
from client.warm import RUNS_KEPT, Contexts, answered, serve
from fedrec import wire
from fedrec.config import Config, to_flat
from tests.loopback import LoopbackGrid

Configure = Callable[..., Config]


class Over(Exception):
    """The script of a test has ended."""


class Scripted:
    """A connection: what comes, one after the other, and what was answered.

    come: messages, None for nothing, or what is raised. refuse: raised for each reply.
    """

    node_id = 7

    def __init__(self, come: list[Any], settings: dict[str, Any] | None = None) -> None:
        self.come, self.settings = come, settings or {}
        self.replies: list[Message] = []
        self.asked_config: list[int] = []
        self.refuse: BaseException | None = None

    def next(self) -> Message | None:
        if not self.come:
            raise Over
        found = self.come.pop(0)
        if isinstance(found, BaseException):  # RunNotRunningException is no Exception
            raise found
        assert found is None or isinstance(found, Message)
        return found

    def reply(self, reply: Message, seconds: float) -> None:
        if self.refuse is not None:
            raise self.refuse
        assert seconds >= 0
        self.replies.append(reply)

    def run_config(self, run_id: int) -> dict[str, Any]:
        self.asked_config.append(run_id)
        return self.settings


def message(kind: str = "query", run_id: int = 1, **config: Any) -> Message:
    before, TaskIdentity.run_id = TaskIdentity.run_id, run_id
    try:
        content = RecordDict({wire.CONFIG: ConfigRecord(config)})
        return Message(content, dst_node_id=7, message_type=kind)
    finally:
        TaskIdentity.run_id = before


def run(fleet: Scripted, **node_config: Any) -> None:
    with pytest.raises(Over):
        serve(fleet, node_config, Pace(sleep=lambda seconds: None))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def process(flower_identity: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has served no run; its identity is put back."""
    monkeypatch.setattr(warm, "_last_run", None)
    before = TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id
    yield
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = before


@pytest.fixture
def settings(small_config: Configure) -> dict[str, Any]:
    return dict(to_flat(small_config()))


def test_it_answers_as_a_simulation_does(
    small_config: Configure, settings: dict[str, Any], loopback: type[LoopbackGrid]
) -> None:
    grid = loopback(small_config(), 3)
    node = max(grid.contexts)
    asked = message()
    asked.metadata.dst_node_id = node
    (expected,) = grid.send_and_receive([asked])
    fleet = Scripted([message()], settings)
    run(fleet, **{"partition-id": 0, "num-partitions": 3})
    assert fleet.replies[0].content == expected.content


def test_it_goes_on_after_a_message_that_fails(settings: dict[str, Any]) -> None:
    fleet = Scripted([message("train"), None, message()], settings)
    run(fleet)
    failed, fine = fleet.replies
    assert failed.has_error() and failed.error.code == 2
    assert "KeyError" in failed.error.reason
    assert fine.content.config_records[wire.CONFIG][wire.TRAINABLE] == 13


def test_it_goes_on_after_settings_and_replies_that_fail(settings: dict[str, Any]) -> None:
    fleet = Scripted([message(), message(run_id=2)], {"run.seed": "x"})
    run(fleet)
    assert all(reply.has_error() for reply in fleet.replies)
    fleet = Scripted([message(), message()], settings)
    fleet.refuse = OSError("the cable")
    run(fleet)
    assert not fleet.come


@pytest.mark.parametrize("reason", [RunNotRunningException(), ObjectPullError("x" * 64, "late")])
def test_a_message_that_is_gone_is_left_alone(
    settings: dict[str, Any], reason: BaseException
) -> None:
    fleet = Scripted([reason, message()], settings)
    run(fleet)
    assert len(fleet.replies) == 1
    fleet.come, fleet.refuse = [message()], RunNotRunningException()
    run(fleet)


def test_a_node_keeps_its_state_for_the_latest_runs() -> None:
    fleet = Scripted([])
    contexts = Contexts(fleet, {"data": "here"})  # type: ignore[arg-type]
    first = contexts.of(1)
    first.state["kept"] = ConfigRecord({"a": 1})
    assert contexts.of(1) is first
    assert (first.node_id, first.node_config) == (7, {"data": "here"})
    for number in range(2, 2 + RUNS_KEPT):
        assert contexts.of(number) is not first
    assert contexts.of(1) is not first
    assert not contexts.of(1).state
    assert fleet.asked_config == [1, *range(2, 2 + RUNS_KEPT), 1]


def test_another_run_finds_nothing_of_the_one_before(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[int] = []
    monkeypatch.setattr(node_cache, "forget", lambda: forgotten.append(TaskIdentity.run_id))
    run(Scripted([message(run_id=run_id) for run_id in (1, 1, 2, 2)], settings))
    assert len(forgotten) == 1


def test_a_process_has_one_message_at_work_at_a_time(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work: list[int] = []
    most: list[int] = []

    def app(*, message: Message, context: Context) -> Message:
        at_work.append(1)
        most.append(len(at_work))
        threading.Event().wait(0.01)
        at_work.pop()
        assert TaskIdentity.node_id == context.node_id
        return Message(RecordDict(), reply_to=message)

    monkeypatch.setattr(warm, "app", app)
    asked = message()
    threads = [
        threading.Thread(target=answered, args=(asked, Context(1, node, {}, RecordDict(), {})))
        for node in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
