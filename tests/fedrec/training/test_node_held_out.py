"""Training knows nothing of what is held out, and scores as evaluation does."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedrec.data import PreparedData
from fedrec.evaluation.targets import users_with_target
from fedrec.stages import STAGES
from fedrec.training.losses import window_losses

ITEMS = 40  # of the toy data
MEMBERS = [0, 1, 2, 5, 9, 14, 30, 60, 97]


def with_other_held_out_items(data: PreparedData, seed: int) -> PreparedData:
    """The held-out items permuted among the users; training histories as they are."""
    places = np.concatenate(
        [
            data.offsets[users] + positions[users]
            for positions in (data.validation_position, data.test_position)
            for users in [np.flatnonzero(positions >= 0)]
        ]
    )
    other, items = copy.copy(data), data.items.copy()
    items[places] = np.random.default_rng(seed).permutation(items[places])
    assert (items != data.items).sum() > len(places) / 2
    other.items = items
    return other


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_training_is_bit_identical_whatever_is_held_out(
    toy_config, toy_node, toy_model, toy_data, stage, steps
) -> None:
    """Negatives that avoid held-out items inflate HR@10 by .147: those are never pushed down."""
    config = toy_config(f"training.local_steps={steps}", f"stages.{stage}.negatives=60")
    model = toy_model(config)
    nodes = [
        toy_node(config, data=data)
        for data in (toy_data, with_other_held_out_items(toy_data, steps))
    ]
    for number in (1, 2):
        one, other = (node.train(model, node.task(stage), number, MEMBERS) for node in nodes)
        assert (one.weight_sum, one.loss_sum, one.users) == (
            other.weight_sum, other.loss_sum, other.users
        )  # fmt: skip
        assert torch.equal(one.rows, other.rows)  # they leave the node too
        for name, value in one.dense(ITEMS).items():
            assert torch.equal(value, other.dense(ITEMS)[name]), name
    ranks = [node.rank(model, STAGES[stage].active, "test").rank["full"] for node in nodes]
    assert not np.array_equal(*ranks)  # evaluation does see the difference


def test_held_out_items_are_negatives_as_often_as_any_other(toy_config, toy_node, toy_data) -> None:
    node = toy_node(toy_config("stages.backbone.negatives=2000"))
    for user in users_with_target(toy_data, "test", node.trainable[:])[:5].tolist():
        batch = node._step(np.array([user]), node.task("backbone"), 1, 0)
        shares = np.bincount(batch.negatives[0], minlength=toy_data.num_items + 1) / 2000
        seen = set(toy_data.train_items(user).tolist())
        unseen = toy_data.num_items - len(seen)
        held_out = set(toy_data.history(user).tolist()) - seen
        assert len(held_out) == 2 and shares[list(seen)].sum() == 0
        for item in held_out:
            assert shares[item] == pytest.approx(1 / unseen, abs=4 * (1 / unseen / 2000) ** 0.5)


# One scoring function for training and for evaluation


def asked_for_the_last_training_item(data: PreparedData) -> PreparedData:
    """As if the last item that a user trains on were the validation target."""
    other = copy.copy(data)
    other.validation_position = np.where(data.train_end >= 2, data.train_end - 1, -1)
    return other


@pytest.mark.parametrize("router", ["flat", "hierarchical"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_training_loss_is_that_of_the_scores_of_evaluation(
    toy_config, toy_node, toy_model, toy_data, stage, router
) -> None:
    """Two ways of scoring once made stages incomparable."""
    still = [f"stages.{stage}.dropout=0", "training.random_cuts=false"]
    config = toy_config(f"model.router={router}", *still)
    node, model = toy_node(config), toy_model(config)
    asked = toy_node(config, data=asked_for_the_last_training_item(toy_data))
    task = node.task(stage)
    batch = node._step(node.trainable[:], task, 1, 0)
    newest = [int(torch.nonzero(batch.user == user)[0]) for user in range(len(node.trainable))]
    batch = batch.map(lambda rows: rows[newest])
    last = torch.zeros_like(batch.share)
    last[:, -1] = 1.0
    with torch.no_grad():
        found = window_losses(model, task, replace(batch, share=last), node.modalities).objective
        scores = asked.scorer(model, task.stage.active, "validation")(node.trainable[:])
    wanted = torch.cat([batch.targets[:, -1:], batch.negatives], dim=1)
    expected = -torch.log_softmax(scores.gather(1, wanted), dim=1)[:, 0]
    assert len(found) > 100
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_user_is_scored_the_same_alone_and_in_a_block(
    toy_config, toy_node, toy_model, toy_data, split
) -> None:
    config = toy_config()
    node, model = toy_node(config), toy_model(config)
    scorer = node.scorer(model, STAGES["routing"].active, split)
    users = users_with_target(toy_data, split)[:40]
    with torch.no_grad():
        together = scorer(users)
        for row in (0, 11, 39):
            alone = scorer(users[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-4)
    assert together.shape == (40, toy_data.num_items + 1)


def test_evaluation_is_not_dropped_out_and_repeats_itself(toy_config, toy_node, toy_model) -> None:
    ranks = []
    for rate in (0.0, 0.9, 0.9):
        config = toy_config(f"stages.routing.dropout={rate}")
        node = toy_node(config)
        ranks.append(node.rank(toy_model(config), STAGES["routing"].active, "test"))
    for other in ranks[1:]:
        for protocol, rank in ranks[0].rank.items():
            assert np.array_equal(rank, other.rank[protocol])


def test_evaluation_follows_the_model(toy_config, toy_node, toy_model) -> None:
    """A cached model once made validation move only every fifth round."""
    config = toy_config()
    node, model = toy_node(config), toy_model(config)
    before = node.rank(model, STAGES["backbone"].active, "validation").rank["full"]
    with torch.no_grad():
        model.item_embedding.weight.neg_()
    after = node.rank(model, STAGES["backbone"].active, "validation").rank["full"]
    assert not np.array_equal(before, after)
