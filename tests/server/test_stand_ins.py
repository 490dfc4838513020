"""Who trains in the place of users whose node fails: a round stays as large as it was drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message

from fedrec import wire
from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config
from fedrec.stages import STAGES
from server import roll_call
from server.federation import Federation, NodeInfo

Federate = Callable[..., tuple[Any, Any]]
Configure = Callable[..., Config]
Members = dict[int, list[int]]
NODES = (1000, 999, 998)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_call, "_POLL_S", 0.01)


def one_round(users: int, **more: Any) -> dict[str, Any]:
    of = {"stages.backbone.rounds": 1, "federation.users_per_round": users}
    return {**of, "federation.evaluation_timeout_s": 0.05, **more}


@pytest.fixture
def everybody(federate: Federate, small_config: Configure, tmp_path: Path) -> Members:
    """All users of the three nodes."""
    config = small_config({**one_round(0), "run.out": str(tmp_path / "who")})
    nodes = federate(config, 3)[0].attendance.federation.nodes
    return {node.node_id: list(range(node.trainable)) for node in nodes}


def leave(grid: Any, away: int) -> None:
    grid.get_node_ids = lambda: [node for node in NODES if node != away]


def goes(grid: Any) -> list[Members]:
    """Whom each node was asked to train, go by go: in each, nodes are asked in their order."""
    found: list[Members] = []
    for message in grid.sent:
        if message.metadata.message_type == "train":
            node = message.metadata.dst_node_id
            if not found or node >= min(found[-1]):
                found.append({})
            found[-1][node] = list(message.content[wire.CONFIG][wire.MEMBERS])
    return found


def size(members: Members) -> int:
    return sum(map(len, members.values()))


@pytest.mark.parametrize("away", NODES)
def test_users_of_a_node_that_is_away_are_replaced_at_once(
    federate: Federate, small_config: Configure, everybody: Members, away: int
) -> None:
    """As many users are drawn as the two others have together."""
    others = {node: users for node, users in everybody.items() if node != away}
    runner, grid = federate(small_config(one_round(size(others))), 3)
    leave(grid, away)
    runner.run(STAGES["backbone"])

    assert goes(grid) == [others]


def test_users_whose_node_is_silent_are_replaced_in_a_second_go(
    federate: Federate, small_config: Configure, everybody: Members
) -> None:
    others = {node: users for node, users in everybody.items() if node != 999}
    runner, grid = federate(small_config(one_round(size(others))), 3)
    grid.silent = {999}
    runner.run(STAGES["backbone"])

    first, second = goes(grid)
    assert size(first) == size(others)
    left = {n: [user for user in users if user not in first[n]] for n, users in others.items()}
    assert second == {node: users for node, users in left.items() if users}
    assert size(second) == len(first[999])


def test_a_node_that_fails_is_asked_for_the_same_users_and_nobody_stands_in(
    federate: Federate, small_config: Configure
) -> None:
    runner, grid = federate(small_config(one_round(8)), 3)
    failures = [0]

    def fail_once(message: Message, reply: Message) -> Message:
        about = message.metadata
        failing = (about.message_type, about.dst_node_id, failures[0]) == ("train", 999, 0)
        failures[0] += failing
        return Message(Error(2, "out of memory"), reply_to=message) if failing else reply

    grid.tamper = fail_once
    runner.run(STAGES["backbone"])

    first, second = goes(grid)
    assert second == {999: first[999]}


def test_where_everybody_is_drawn_nobody_can_stand_in(
    federate: Federate, small_config: Configure, everybody: Members
) -> None:
    runner, grid = federate(small_config(one_round(0)), 3)
    grid.silent = {999}
    runner.run(STAGES["backbone"])

    assert goes(grid) == [everybody]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"federation.sparse_rows": True},
        {"federation.transport": "float16"},
        {"federation.item_averaging": "row"},
    ],
    ids=["plain", "rows", "float16", "row weights"],
)
def test_a_node_that_trains_in_two_goes_counts_as_if_it_had_in_one(
    federate: Federate,
    small_config: Configure,
    everybody: Members,
    tmp_path: Path,
    more: dict[str, Any],
) -> None:
    """Node 999 away or silent: all users of the others train, in one go or in two."""
    users = size(everybody) - len(everybody[999])
    settings = one_round(users, **{"federation.optimizer": "fedavg", **more})
    models = []
    for how in ("away", "silent"):
        runner, grid = federate(small_config({**settings, "run.out": str(tmp_path / how)}), 3)
        if how == "away":
            leave(grid, 999)
        grid.silent = {999}
        runner.run(STAGES["backbone"])
        assert len(goes(grid)) == (1 if how == "away" else 2)
        found = load_checkpoint(runner.folder.checkpoints / "backbone.safetensors")
        models.append(found.arrays)

    one, two = models
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_who_stands_in_depends_on_the_round_and_on_who_is_missing() -> None:
    nodes = Federation(tuple(NodeInfo(i, i, 50, 1, "c", ()) for i in range(4)))

    def draw(number: int, taken: Members) -> Members:
        drawn = nodes.stand_ins(7, "backbone", number, 0, size=20, taken=taken)
        return {node.node_id: members for node, members in drawn}

    taken = {0: list(range(0, 50, 2)), 2: list(range(50))}
    found = draw(1, taken)

    assert found == draw(1, taken)
    assert found != draw(2, taken)
    assert size(found) == 20
    assert 2 not in found
    assert all(user % 2 for user in found[0])
