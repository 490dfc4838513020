from __future__ import annotations

from zlib import crc32

import pytest
import torch
from torch import Tensor

from fedrec.model.feddmmr import Active, FedDMMR
from fedrec.model.transitions import led_to
from fedrec.training.losses import window_losses

WIDTH = 4
TRANSITIONS = f"model.transitions={WIDTH}"
TRUNK = Active(experts=False, router=False)
ROUTED = Active(experts=True, router=True)


def test_newer_items_lead_on_more_by_hand() -> None:
    leads = torch.tensor([[[1.0], [10.0], [100.0]]])
    second, third = 2**-0.75, 3**-0.75
    expected = [1, 10 + second, 100 + 10 * second + third]
    torch.testing.assert_close(led_to(leads).flatten(), torch.tensor(expected))
    asked = led_to(leads, at=torch.tensor([[2, 0]]))
    torch.testing.assert_close(asked.flatten(), torch.tensor([expected[2], expected[0]]))


def test_padding_leads_nowhere() -> None:
    leads = torch.randn(1, 5, WIDTH)
    padded = torch.cat([torch.zeros(1, 3, WIDTH), leads], dim=1)
    torch.testing.assert_close(led_to(padded)[:, 3:], led_to(leads))


def test_what_is_dropped_depends_on_the_history_alone() -> None:
    """Not on the padding, nor on who is beside it; and in evaluation nothing is."""
    leads, keys = torch.randn(2, 5, WIDTH), torch.tensor([3, 4], dtype=torch.int32)
    both = led_to(leads, keys, dropout=0.5)
    padded = torch.cat([torch.zeros(1, 3, WIDTH), leads[1:]], dim=1)
    alone = led_to(padded, keys[1:], dropout=0.5)[:, 3:]
    torch.testing.assert_close(alone, both[1:])
    assert not torch.allclose(both, led_to(leads))
    assert torch.equal(led_to(leads, dropout=0.5), led_to(leads))


@pytest.fixture
def windows(toy_config, toy_node, toy_model):
    """(model, node, task of a stage, batch of some users) with transitions."""

    def make(stage: str, *overrides: str):
        config = toy_config(TRANSITIONS, *overrides)
        node, model = toy_node(config), toy_model(config)
        task = node.task(stage)
        return model, node, task, node._step(node.trainable[[3, 20, 23]], task, 1, 0)

    return make


def score(model: FedDMMR, node, batch, active: Active) -> Tensor:
    hidden = model.encode(batch.item_ids, at=batch.wanted)
    return model.score(
        hidden, None, active=active, memory=batch.memory(), adapted=model.adapt(node.modalities)
    ).scores


def test_they_join_the_score_through_their_gate(windows) -> None:
    model, node, _, batch = windows("routing")
    with torch.no_grad():
        trunk, with_them = (score(model, node, batch, active) for active in (TRUNK, ROUTED))
        rows = model.item_embedding(batch.item_ids)
        led = led_to(rows[..., 8 + WIDTH :], at=batch.wanted)
        follows = model.item_embedding.weight[:, 8 : 8 + WIDTH]
        gate = model.transition_gate.item()
        model.transition_gate.zero_()
        without = score(model, node, batch, ROUTED)
        assert torch.equal(score(model, node, batch, TRUNK), trunk)
    torch.testing.assert_close(with_them - without, gate * led @ follows.T, rtol=1e-4, atol=1e-5)


def test_in_the_backbone_stage_they_learn_beside_the_trunk_and_change_nothing_of_it(
    windows,
) -> None:
    def gradient(*overrides: str) -> dict[str, Tensor]:
        model, node, task, batch = windows("backbone", *overrides)
        with torch.no_grad():  # the same trunk, whether there are transitions or not
            for name, value in model.named_parameters():
                columns = value[:, :8] if name == "item_embedding.weight" else value
                generator = torch.Generator().manual_seed(crc32(name.encode()))
                columns.copy_(torch.randn(columns.shape, generator=generator) * 0.1)
        window_losses(model, task, batch, node.modalities).total(task.stage_config).sum().backward()
        return {n: v.grad for n, v in model.named_parameters() if v.grad is not None}

    found, without = gradient(), gradient("model.transitions=0")
    table = found["item_embedding.weight"]
    assert all(part.abs().max() > 1e-5 for part in table[:, 8:].split(WIDTH, dim=1))
    found["item_embedding.weight"] = table[:, :8]
    assert found.keys() == without.keys()
    for name, value in without.items():
        torch.testing.assert_close(found[name], value)


def test_their_loss_is_the_objective_of_their_scores_alone(windows) -> None:
    model, node, task, batch = windows("backbone", "stages.backbone.dropout=0")
    found = window_losses(model, task, batch, node.modalities).transitions
    rows = model.item_embedding.weight
    expected = 0.0
    for column in torch.nonzero(batch.share[0]).flatten().tolist():
        history = batch.item_ids[0, : batch.at[0, column] + 1].flip(0)
        led = sum((1 + age) ** -0.75 * rows[item, 12:] for age, item in enumerate(history))
        named = torch.cat([batch.targets[0, column : column + 1], batch.negatives[0]])
        loss = -torch.log_softmax(rows[named, 8:12] @ led, dim=0)[0]
        expected += (loss * batch.share[0, column]).item()
    assert found[0].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("stage", ["alignment", "routing"])
def test_elsewhere_only_their_gate_learns(windows, stage) -> None:
    model, node, task, batch = windows(stage)
    losses = window_losses(model, task, batch, node.modalities)
    assert (losses.transitions == 0).all()
    (gradient,) = torch.autograd.grad(losses.objective.sum(), model.transition_gate)
    assert gradient.abs().max() > 1e-5
