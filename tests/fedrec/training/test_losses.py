from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from fedrec.stages import STAGES
from fedrec.training.batches import Batch
from fedrec.training.losses import OBJECTIVES, CohortLoss, WindowLosses, window_losses
from fedrec.training.objectives import sampled_softmax

MEMBERS = [1, 20, 40]


@pytest.fixture
def losses(toy_config, toy_node, toy_model) -> Callable[..., tuple[WindowLosses, Batch]]:
    """The losses of some users' windows in a stage, and the windows."""

    def compute(stage: str, *overrides: str, change: Callable[[Batch], Batch] = lambda b: b):
        config = toy_config(*overrides)
        node, model = toy_node(config), toy_model(config)
        batch = change(node._step(node.trainable[MEMBERS], node.task(stage), 1, 0))
        with torch.no_grad():
            return window_losses(model, node.task(stage), batch, node.modalities), batch

    return compute


def at_one_position(row: int, column: int) -> Callable[[Batch], Batch]:
    """The loss of the batch comes from this target alone; the others stay in its window."""

    def change(batch: Batch) -> Batch:
        share = torch.zeros_like(batch.share)
        share[row, column] = 1.0
        return replace(batch, share=share)

    return change


@pytest.mark.parametrize("stage", STAGES)
def test_one_loss_a_window(losses, stage) -> None:
    found, batch = losses(stage, "model.transitions=4")
    for part in (found.objective, found.transitions, found.contrastive, found.balance):
        assert part.shape == batch.user.shape and torch.isfinite(part).all()


def test_the_parts_of_each_stage(losses) -> None:
    backbone, alignment, routing = (losses(stage)[0] for stage in STAGES)
    assert (backbone.contrastive == 0).all() and (backbone.balance == 0).all()
    assert alignment.contrastive.sum() > 0 and (alignment.balance == 0).all()
    assert (routing.contrastive == 0).all() and routing.balance.sum() > 0


def test_the_total_weighs_the_parts(toy_config) -> None:
    config = replace(toy_config().stages.routing, contrastive_weight=0.5, balance_weight=0.25)
    parts = WindowLosses(*(torch.tensor([value]) for value in (1.0, 8.0, 2.0, 4.0)))
    assert float(parts.total(config)) == 11.0


def test_a_user_is_balanced_at_least_by_one(losses) -> None:
    found, batch = losses("routing")
    whole = torch.zeros(len(MEMBERS)).index_add(0, batch.user, found.balance)
    assert (whole >= 1 - 1e-5).all()


@pytest.mark.parametrize("stage", STAGES)
def test_the_trunk_is_dropped_out_at_the_rate_of_the_stage(losses, stage) -> None:
    """Where it is frozen too: on what it has learnt from it is surer than on anything else."""

    def objective(of: str, rate: float) -> Tensor:
        return losses(stage, f"stages.{of}.dropout={rate}")[0].objective

    assert not torch.allclose(objective(stage, 0.0), objective(stage, 0.6))
    other = "routing" if stage == "backbone" else "backbone"
    assert torch.equal(objective(other, 0.0), objective(other, 0.6))


def test_padding_targets_count_nothing(losses) -> None:
    def noisy(batch: Batch) -> Batch:
        other = torch.where(batch.share > 0, batch.places, 7)
        return replace(batch, places=other)

    plain, batch = losses("routing")
    assert (batch.share == 0).any()
    torch.testing.assert_close(losses("routing", change=noisy)[0].objective, plain.objective)


@pytest.mark.parametrize("positions", [0, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_a_loss_does_not_see_how_far_its_window_is_padded(losses, stage, positions) -> None:
    """Dropout is on where the trunk trains, and masks stand where they stood."""
    drawn = f"stages.{stage}.positions={positions}"
    wide, batch = losses(stage, drawn)
    for row in range(len(batch.user)):
        alone = partial(_only, row)
        found, part = losses(stage, drawn, change=alone)
        assert part.item_ids.shape[1] == int((batch.item_ids[row] > 0).sum())
        for name in ("objective", "contrastive", "balance"):
            torch.testing.assert_close(
                getattr(found, name), getattr(wide, name)[row : row + 1], rtol=1e-4, atol=1e-5
            )


def _only(row: int, batch: Batch) -> Batch:
    return batch.map(lambda rows: rows[row : row + 1]).narrowed()


@pytest.mark.parametrize("stage", STAGES)
def test_the_loss_at_other_parameters_is_that_of_a_model_that_has_them(
    toy_config, toy_node, toy_model, stage
) -> None:
    config = toy_config()
    node, model, other = toy_node(config), toy_model(config), toy_model(config)
    task = node.task(stage)
    batch = node._step(node.trainable[MEMBERS], task, 1, 0)
    with torch.no_grad():
        for value in other.parameters():
            value.mul_(1.1)
        found = CohortLoss(model, task).at(dict(other.named_parameters()), batch, node.modalities)
        expected = window_losses(other, task, batch, node.modalities).total(task.stage_config)
        own = window_losses(model, task, batch, node.modalities).total(task.stage_config)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, own)


# In-batch negatives


def test_in_batch_negatives_are_the_other_targets_of_the_window(
    toy_config, toy_node, toy_model
) -> None:
    config = toy_config("training.objective=in_batch", "stages.backbone.dropout=0")
    node, model = toy_node(config), toy_model(config)
    task = node.task("backbone")
    batch = node._step(node.trainable[MEMBERS], task, 1, 0)
    found = window_losses(model, task, batch, node.modalities).objective
    states = model.encode(batch.item_ids)
    for row, targets in enumerate(batch.targets):
        expected = 0.0
        counted = torch.nonzero(batch.share[row]).flatten().tolist()
        for column in counted:
            state = states[row, batch.at[row, column]]
            own = targets[column]
            others = [int(targets[place]) for place in counted if targets[place] != own]
            scores = model.item_embedding(torch.tensor([int(own), *others])) @ state
            loss = -torch.log_softmax(scores, dim=0)[0]
            expected += (loss * batch.share[row, column]).item()
        assert found[row].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


# Contrastive


def test_surprise_makes_hard_examples_count_more(losses, toy_config, toy_model) -> None:
    """An instance counts 1 + surprise * (1 - sigmoid(the trunk's score of its target))."""
    _, batch = losses("alignment")
    model, still = toy_model(toy_config()), "stages.alignment.dropout=0"
    with torch.no_grad():
        states = model.encode(batch.item_ids)
    row = int((batch.share > 0).sum(1).argmax())
    ratios, expectations = [], []
    for column in torch.nonzero(batch.share[row]).flatten().tolist():
        change = at_one_position(row, column)
        plain, surprised = (
            losses("alignment", f"stages.alignment.surprise={alpha}", still, change=change)[0]
            for alpha in (0.0, 0.8)
        )
        score = states[row, batch.at[row, column]] @ model.item_embedding(
            batch.targets[row, column]
        )
        expectations.append(torch.sigmoid(score).item())
        ratios.append(float(surprised.contrastive[row] / plain.contrastive[row]))
    expected = [1 + 0.8 * (1 - share) for share in expectations]
    assert ratios == pytest.approx(expected, rel=1e-4)
    assert len(ratios) > 3 and max(expectations) - min(expectations) > 0.05


def test_targets_without_the_modality_are_not_aligned(losses) -> None:
    """Item 4 has neither image nor text."""

    def only_item_4(batch: Batch) -> Batch:
        return replace(batch, share=batch.share * (batch.targets == 4))

    found, batch = losses("alignment", change=only_item_4)
    assert batch.share.sum() > 0 and (found.contrastive == 0).all()


# Settings


def test_every_objective_is_known_and_differs(losses) -> None:
    names = list(OBJECTIVES)
    found = {name: losses("backbone", f"training.objective={name}")[0].objective for name in names}
    for index, name in enumerate(names):
        for other in names[:index]:
            assert not torch.allclose(found[name], found[other]), (name, other)


@pytest.mark.parametrize(
    ("stage", "setting", "value"),
    [
        ("alignment", "contrastive_temperature", 0.5),
        ("alignment", "contrastive_weight", 0.9),
        ("alignment", "surprise", 2.0),
        ("routing", "balance_weight", 0.9),
        ("backbone", "negatives", 9),
    ],
)
def test_settings_of_a_stage_change_its_loss(losses, toy_config, stage, setting, value) -> None:
    def total(*overrides: str) -> float:
        config = getattr(toy_config(*overrides).stages, stage)
        return float(losses(stage, *overrides)[0].total(config).sum())

    assert total(f"stages.{stage}.{setting}={value}") != pytest.approx(total(), rel=1e-4)


def test_the_objective_is_the_one_configured(toy_config, toy_node) -> None:
    assert toy_node(toy_config()).task("backbone").objective(9) is sampled_softmax
