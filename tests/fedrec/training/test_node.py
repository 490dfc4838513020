"""Who trains on a node and with what weight, and that it does not matter on which node."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedrec.data import partition_users
from fedrec.evaluation.metrics import add_sums
from fedrec.model.feddmmr import FedDMMR
from fedrec.stages import STAGES
from fedrec.training.cohort import CohortUpdate
from fedrec.training.node import Node

ITEMS = 40  # of the toy data
MEMBERS = [0, 1, 2, 5, 9, 14, 30, 60, 97]


def train(node: Node, model: FedDMMR, stage: str, members: list[int], number: int = 4):
    return node.train(model, node.task(stage), number, members)


def total(parts: list[CohortUpdate]) -> CohortUpdate:
    """What a server makes of several nodes' answers."""
    first, *rest = parts
    whole = replace(first, update_sum=first.dense(ITEMS), rows=torch.arange(ITEMS + 1))
    for part in rest:
        for name, value in part.dense(ITEMS).items():
            whole.update_sum[name] = whole.update_sum[name] + value
        whole.weight_sum += part.weight_sum
        whole.loss_sum += part.loss_sum
        whole.users += part.users
    return whole


# Who trains, and with what weight


def test_users_with_a_pair_to_learn_from_train(toy_config, toy_node, toy_data) -> None:
    node = toy_node(toy_config())
    expected = [user for user in range(toy_data.num_users) if toy_data.train_end[user] >= 2]
    assert node.trainable[:].tolist() == expected
    assert 0 < len(expected) < toy_data.num_users  # some have too little


@pytest.mark.parametrize(("weighting", "power"), [("examples", 1), ("sqrt", 0.5), ("uniform", 0)])
def test_a_user_weighs_by_its_bounded_number_of_pairs(
    toy_config, toy_node, toy_model, toy_data, weighting, power
) -> None:
    config = toy_config(f"federation.weighting={weighting}", "federation.max_weight=6.0")
    node, model = toy_node(config), toy_model(config)
    for member in MEMBERS:
        update = train(node, model, "backbone", [member])
        pairs = int(toy_data.train_end[node.trainable[member]]) - 1
        assert update.weight_sum == pytest.approx(min(6.0, pairs**power), rel=1e-6)
        assert update.users == 1


def test_a_weight_multiplies_the_update(toy_config, toy_node, toy_model) -> None:
    found = []
    for weighting in ("uniform", "examples"):
        config = toy_config(f"federation.weighting={weighting}")
        update = train(toy_node(config), toy_model(config), "backbone", [9])
        found.append(update)
    one, many = found
    assert many.weight_sum > 1 == one.weight_sum
    assert many.loss_sum == pytest.approx(many.weight_sum * one.loss_sum, rel=1e-4)
    for name, value in one.dense(ITEMS).items():
        expected = many.weight_sum * value
        torch.testing.assert_close(many.dense(ITEMS)[name], expected, rtol=1e-3, atol=1e-5)


# One round is the same however the users are dealt to nodes


@pytest.mark.parametrize(
    ("stage", "steps", "dealt"),
    [("backbone", 1, (8, 130)), ("alignment", 1, (8, 130)), ("routing", 1, (8, 130)),
     ("backbone", 2, (8, 130)), ("routing", 2, (8,))],
)  # fmt: skip
def test_nodes_of_any_size_make_the_same_round(
    toy_config, toy_node, toy_model, toy_data, stage, steps, dealt
) -> None:
    """130 users on one node, on 8, and on 130 of one user each: the phone."""
    config = toy_config(f"training.local_steps={steps}")
    model = toy_model(config)
    rounds = []
    for count in (1, *dealt):
        parts = [partition_users(toy_data.train_end, index, count) for index in range(count)]
        nodes = [toy_node(config, users) for users in parts]
        assert sum(len(node.users) for node in nodes) == toy_data.num_users
        rounds.append(
            total(
                [
                    train(node, model, stage, list(range(len(node.trainable))))
                    for node in nodes
                    if len(node.trainable)
                ]
            )
        )
    together = rounds[0]
    assert together.users > 100
    for other in rounds[1:]:
        assert other.users == together.users
        assert other.weight_sum == pytest.approx(together.weight_sum, rel=1e-5)
        assert other.loss_sum == pytest.approx(together.loss_sum, rel=1e-4)
        for name, value in together.dense(ITEMS).items():
            scale = float(value.abs().max())
            torch.testing.assert_close(
                other.dense(ITEMS)[name], value, rtol=0, atol=1e-3 * scale, msg=name
            )


@pytest.mark.parametrize("stage", STAGES)
def test_a_user_draws_the_same_on_any_node(toy_config, toy_node, toy_data, stage) -> None:
    config = toy_config(f"stages.{stage}.windows=2", f"stages.{stage}.positions=2")
    everyone = toy_node(config)
    whole = everyone._step(everyone.trainable[:], everyone.task(stage), 3, 0)
    for position in (0, 7, 50):
        user = int(everyone.trainable[position])
        alone = toy_node(config, range(user, user + 1))
        own = alone._step(alone.trainable[:], alone.task(stage), 3, 0)
        part = whole.map(lambda rows, position=position: rows[whole.user == position])
        for name in ("item_ids", "at", "targets", "negatives", "keys", "share"):
            width = getattr(own, name).shape[-1]
            found = getattr(part, name)
            assert torch.equal(
                found[..., -width:] if found.dim() > 1 else found, getattr(own, name)
            )


def test_who_is_drawn_by_windows_trains_on_as_many_and_counts_by_their_examples(
    toy_config, toy_node, toy_model, toy_data
) -> None:
    """The windows of the longest history, drawn once and all; the oldest one is not full."""
    config = toy_config("federation.draw=windows", "training.random_cuts=false")
    node, length = toy_node(config), config.model.max_len
    pairs = int(toy_data.train_end.max()) - 1
    windows = -(-pairs // length)
    assert windows > 2
    user = int(toy_data.train_end.argmax())
    places = np.flatnonzero(node.drawn_from[:] == user).tolist()
    assert len(places) == windows
    task = node.task("backbone")
    model, bound = toy_model(config), config.federation.max_weight
    assert pairs % length and length < bound
    for count, examples in ((1, {length, pairs % length}), (windows, {pairs})):
        batch = node._step(np.array([user]), task, 1, 0, np.array([count]))
        assert len(batch.user) == count
        rounds = [node.train(model, task, number, places[:count]) for number in range(1, 40)]
        expected = {min(number, bound) for number in examples}
        assert {update.weight_sum for update in rounds} == expected


def test_windows_of_one_user_are_one_user_who_trains(toy_config, toy_node, toy_model) -> None:
    all_of_them = ["stages.backbone.windows=0", "training.random_cuts=false"]  # shifted: one more
    config = toy_config("federation.draw=windows", *all_of_them)
    node, model = toy_node(config), toy_model(config)
    everything = list(range(len(node.drawn_from)))
    assert len(everything) > len(node.trainable)
    update = node.train(model, node.task("backbone"), 1, everything)
    users = toy_node(toy_config("federation.draw=users", *all_of_them))
    plain = users.train(model, users.task("backbone"), 1, list(range(len(users.trainable))))
    assert update.users == plain.users == len(node.trainable)
    for name, value in plain.dense(ITEMS).items():  # all windows of everybody, either way
        torch.testing.assert_close(update.dense(ITEMS)[name], value)


def test_a_stage_bounds_the_windows_that_were_drawn(toy_config, toy_node) -> None:
    node = toy_node(toy_config("federation.draw=windows", "stages.backbone.windows=2"))
    times = np.array([1, 2, 5])
    assert node._windows(times, node.task("backbone")).tolist() == [1, 2, 2]
    assert node._windows(times, node.task("alignment")).tolist() == [1, 2, 5]


def test_evaluation_adds_up_over_nodes(toy_config, toy_node, toy_model, toy_data) -> None:
    config = toy_config()
    model, active = toy_model(config), STAGES["routing"].active
    whole = toy_node(config).evaluate(model, active, "test")
    parts = [partition_users(toy_data.train_end, index, 8) for index in range(8)]
    sums = add_sums(toy_node(config, users).evaluate(model, active, "test") for users in parts)
    assert sums == pytest.approx(whole)
    assert whole["test/full/users"] > 100


# Who is asked


def test_a_sample_of_users_is_asked_however_they_are_dealt(
    toy_config, toy_node, toy_model, toy_data
) -> None:
    config = toy_config("evaluation.users=20", "evaluation.test_users=30")
    model, active = toy_model(config), STAGES["backbone"].active
    for split, count in (("validation", 20), ("test", 30)):
        whole = toy_node(config).evaluate(model, active, split)
        assert whole[f"{split}/full/users"] == count
        parts = [partition_users(toy_data.train_end, index, 8) for index in range(8)]
        nodes = [toy_node(config, users) for users in parts]
        assert add_sums(node.evaluate(model, active, split) for node in nodes) == pytest.approx(
            whole
        )
        everybody = toy_node(toy_config()).rank(model, active, split)
        asked = toy_node(config).rank(model, active, split)
        rank = dict(zip(everybody.users.tolist(), everybody.rank["full"].tolist(), strict=True))
        assert asked.rank["full"].tolist() == [rank[user] for user in asked.users.tolist()]


def test_a_node_keeps_no_list_of_its_users(toy_config, toy_data) -> None:
    node = Node(toy_data, range(3, 90), toy_config(), {})
    assert node.users == range(3, 90)
    held = [vars(part) for part in (node, node.trainable)]
    arrays = [v for of in held for v in of.values() if isinstance(v, np.ndarray)]
    assert [len(array) for array in arrays if array is not toy_data.train_end] == [1]


def test_a_round_trains_differently_from_another(toy_config, toy_node, toy_model) -> None:
    config = toy_config()
    node, model = toy_node(config), toy_model(config)
    one, other = (train(node, model, "backbone", MEMBERS, number) for number in (1, 2))
    assert one.loss_sum != other.loss_sum
