"""What is personal: at its start, in its steps, in both engines, and apart from what is shared."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedrec.config import PERSONAL_PARTS, Config
from fedrec.evaluation.targets import users_with_target
from fedrec.model.feddmmr import FedDMMR, Modality
from fedrec.stages import STAGES, stage_groups
from fedrec.training.losses import window_losses
from fedrec.training.node import Node
from fedrec.training.personal import PARTS, PersonalRows, adagrad_norm, personal_parts
from fedrec.training.personal_parts import PersonalParts

MEMBERS = [0, 2, 5, 9, 30]
ROUND = 4
ALL = "personal.parts=embedding,gate,router"
EVERYWHERE = "personal.from_stage=backbone"

Engine = Callable[..., tuple[Node, FedDMMR]]


@pytest.fixture
def engine(toy_config, toy_node, toy_model) -> Engine:
    """A node and a model with all parts in all stages, both in double precision."""

    def make(*overrides: str) -> tuple[Node, FedDMMR]:
        config: Config = toy_config(ALL, EVERYWHERE, *overrides)
        node, model = toy_node(config), toy_model(config).double()
        node.modalities = {
            name: Modality(held.values.double(), held.present)
            for name, held in node.modalities.items()
        }
        return node, model

    return make


def nothing_kept(node: Node, stage: str, rate: float | None = None) -> PersonalParts:
    """What a node holds of its users before any has trained."""
    config = node.config
    return PersonalParts(
        personal_parts(config, STAGES[stage]), rate or config.personal.learning_rate
    )


def trained(node: Node, model: FedDMMR, stage: str, members: list[int] = MEMBERS) -> PersonalParts:
    """What is kept after a round."""
    kept = nothing_kept(node, stage)
    node.train(model, node.task(stage), ROUND, members, kept)
    return kept


# ---------------------------------------------------------------------------------- which there are


def test_the_configurable_parts_are_the_registered() -> None:
    assert tuple(PARTS) == tuple(PERSONAL_PARTS)


def test_a_part_takes_part_where_what_it_changes_is_active(toy_config) -> None:
    config = toy_config(ALL, EVERYWHERE)
    assert [personal_parts(config, stage) for stage in STAGES.values()] == [
        ("embedding",),
        ("embedding", "gate"),
        ("embedding", "gate", "router"),
    ]
    late = toy_config(ALL, "personal.from_stage=alignment")
    assert personal_parts(late, STAGES["backbone"]) == ()
    assert personal_parts(late, STAGES["alignment"]) == ("embedding", "gate")
    assert all(personal_parts(toy_config(), stage) == () for stage in STAGES.values())


# ----------------------------------------------------------------------------------------- the step


def test_steps_by_hand() -> None:
    """3-4-5: the first step is as long as the rate, the second of the same gradient 1/sqrt(2)."""
    values, squares = torch.zeros(2, 2), torch.zeros(2)
    gradients = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    values, squares = adagrad_norm(values, squares, gradients, 0.5)
    torch.testing.assert_close(values, torch.tensor([[-0.3, -0.4], [0.0, 0.0]]))
    assert squares.tolist() == [25.0, 0.0]
    after, squares = adagrad_norm(values, squares, gradients, 0.5)
    torch.testing.assert_close(after - values, torch.tensor([[-0.3, -0.4], [0.0, 0.0]]) / 2**0.5)
    assert squares.tolist() == [50.0, 0.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(value) -> None:
    values, squares = torch.ones(2, 2), torch.ones(2)
    after, total = adagrad_norm(values, squares, torch.tensor([[value, 1.0], [1.0, 0.0]]), 0.1)
    assert after[0].tolist() == [1.0, 1.0] and total[0] == 1.0
    assert after[1, 0] < 1.0 and total[1] == 2.0


def test_steps_change_no_tensor_that_was_handed_in() -> None:
    start = torch.zeros(1, 2)
    rows = PersonalRows({"gate": start}, {"gate": torch.zeros(1)}, 0.1)
    rows.step({"gate": torch.ones(1, 2)})
    assert start.tolist() == [[0.0, 0.0]] and rows.values["gate"].abs().sum() > 0


# ---------------------------------------------------------------------------------------- the start


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("router", ["flat", "hierarchical"])
def test_who_keeps_nothing_is_scored_as_by_the_shared_model(
    toy_config, toy_node, toy_model, stage, router
) -> None:
    """Bit by bit."""
    config = toy_config(ALL, EVERYWHERE, f"model.router={router}")
    node, model, active = toy_node(config), toy_model(config), STAGES[stage].active
    kept, users = nothing_kept(node, stage), users_with_target(node.data, "validation")
    assert kept.names
    with torch.no_grad():
        shared = node.scorer(model, active, "validation")(users)
        own = node.scorer(model, active, "validation", kept)(users)
    assert torch.equal(shared, own)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_the_first_shared_update_is_what_it_would_be_without(engine, stage, steps) -> None:
    """The rows are zero in the first step; in a second they have moved."""
    node, model = engine(f"training.local_steps={steps}")
    task = node.task(stage)
    without = node.train(model, task, ROUND, MEMBERS)
    beside = node.train(model, task, ROUND, MEMBERS, nothing_kept(node, stage))
    same = [
        torch.allclose(beside.update_sum[name], value, rtol=1e-9, atol=1e-12)
        for name, value in without.update_sum.items()
    ]
    assert all(same) == (steps == 1)
    assert beside.loss_sum == pytest.approx(without.loss_sum, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2])
def test_without_parts_nothing_is_kept_and_no_bit_differs(
    toy_config, toy_node, toy_model, steps
) -> None:
    config = toy_config(f"training.local_steps={steps}")
    node, model, kept = toy_node(config), toy_model(config), PersonalParts()
    for stage in STAGES:
        without = node.train(model, node.task(stage), ROUND, MEMBERS)
        beside = node.train(model, node.task(stage), ROUND, MEMBERS, kept)
        for name, value in without.update_sum.items():
            assert torch.equal(beside.update_sum[name], value)
    assert kept.arrays() == {}


# ----------------------------------------------------------------------------- against a plain loop


def alone(node: Node, model: FedDMMR, stage: str, member: int) -> dict[str, Tensor]:
    """One user's rows by the rule, step by step, beside a model that this user trains."""
    task, own, config = node.task(stage), deepcopy(model), node.config
    wanted = stage_groups(task.stage, {name.split(".")[0] for name, _ in own.named_parameters()})
    shared = [value for name, value in own.named_parameters() if name.split(".")[0] in wanted]
    names = personal_parts(config, task.stage)
    rows = {name: torch.zeros(1, PARTS[name].width(model), dtype=torch.float64) for name in names}
    squares = dict.fromkeys(names, 0.0)
    for step in range(task.training.local_steps):
        leaves = {name: value.requires_grad_() for name, value in rows.items()}
        batch = node._step(node.trainable[[member]], task, ROUND, step)
        windows = {name: value.expand(len(batch.user), -1) for name, value in leaves.items()}
        losses = window_losses(own, task, batch, node.modalities, windows)
        loss = losses.total(task.stage_config).sum()
        found = torch.autograd.grad(loss, [*leaves.values(), *shared], allow_unused=True)
        rows = {}
        for (name, value), gradient in zip(leaves.items(), found, strict=False):
            assert gradient is not None
            squares[name] += float(gradient.square().sum())
            rate = config.personal.learning_rate / squares[name] ** 0.5
            rows[name] = (value - rate * gradient).detach()
        with torch.no_grad():
            for value, gradient in zip(shared, found[len(leaves) :], strict=True):
                if gradient is not None:
                    value -= task.training.local_learning_rate * gradient
    return rows


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "settings", [(), ("training.clip_norm=1e-3",), ("training.local_steps=3",)]
)
def test_rows_equal_those_of_a_plain_loop(engine, stage, settings) -> None:
    """Whatever a user weighs in the federation, and however its shared update is bounded."""
    node, model = engine(*settings)
    kept = trained(node, model, stage)
    for member in MEMBERS:
        found = kept.rows(model, node.trainable[[member]])
        for name, expected in alone(node, model, stage, member).items():
            assert expected.abs().max() > 1e-6
            torch.testing.assert_close(found.values[name], expected, rtol=1e-5, atol=1e-9)


def test_how_many_users_fit_does_not_change_the_rows(engine, monkeypatch) -> None:
    """Several groups of copies: each puts its rows where they belong."""
    settings = ("training.local_steps=2", "training.memory_mib=1")
    many = list(range(30))
    node, model = engine(*settings)
    kept = trained(node, model, "routing", many)
    for member in (0, 7, 29):
        found = kept.rows(model, node.trainable[[member]])
        for name, expected in alone(node, model, "routing", member).items():
            torch.testing.assert_close(found.values[name], expected, rtol=1e-5, atol=1e-9)


def test_a_second_round_goes_on_from_the_first(engine) -> None:
    node, model = engine()
    kept = trained(node, model, "routing")
    first = kept.rows(model, node.trainable[MEMBERS])
    node.train(model, node.task("routing"), ROUND + 1, MEMBERS[:2], kept)
    second = kept.rows(model, node.trainable[MEMBERS])
    for name in kept.names:
        moved = (second.values[name] - first.values[name]).abs().amax(-1) > 0
        assert moved.tolist() == [True, True, False, False, False]
        length = (second.values[name] - first.values[name]).norm(dim=-1)[:2]
        assert (length < node.config.personal.learning_rate).all()


# --------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("part", PERSONAL_PARTS)
def test_every_part_changes_its_users_scores_and_nobody_elses(engine, part) -> None:
    node, model = engine(f"personal.parts={part}", "personal.learning_rate=1.0")
    kept, active = trained(node, model, "routing"), STAGES["routing"].active
    everybody = users_with_target(node.data, "validation")
    with torch.no_grad():
        shared = node.scorer(model, active, "validation")(everybody)
        own = node.scorer(model, active, "validation", kept)(everybody)
    differ = (shared - own).abs().amax(-1) > 0
    members = set(node.trainable[MEMBERS].tolist()) & set(everybody.tolist())
    assert len(members) > 2 and set(everybody[differ.numpy()].tolist()) == members


def test_users_ranks_are_those_of_their_own_scores(engine) -> None:
    node, model = engine("personal.learning_rate=1.0")
    kept, active = trained(node, model, "routing", [*range(60)]), STAGES["routing"].active
    shared = node.evaluate(model, active, "validation")
    own = node.evaluate(model, active, "validation", kept)
    assert shared.keys() == own.keys() and shared != own


def test_fitting_what_is_personal_leaves_the_model_and_serves_the_user(engine) -> None:
    """Who comes later: the own loss falls, and nothing else moves."""
    node, model = engine()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    task, kept = node.task("routing"), nothing_kept(node, "routing")
    node.fit_personal(model, task, [9], kept, steps=8)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert {name: table.users.tolist() for name, table in kept.tables.items()} == {
        name: [int(node.trainable[[9]][0])] for name in PERSONAL_PARTS
    }
    quiet = replace(task, stage_config=replace(task.stage_config, dropout=0.0))
    batch = node._step(node.trainable[[9]], task, 99, 0)
    rows = kept.rows(model, node.trainable[[9]]).values
    losses = [
        window_losses(model, quiet, batch, node.modalities, personal).objective.sum()
        for personal in ({}, {name: row.expand(len(batch.user), -1) for name, row in rows.items()})
    ]
    assert losses[1] < losses[0]


def test_fitting_does_not_depend_on_who_is_beside(engine) -> None:
    node, model = engine("training.local_steps=3")
    task = node.task("routing")
    one, many = nothing_kept(node, "routing"), nothing_kept(node, "routing")
    node.fit_personal(model, task, [9], one, steps=3)
    node.fit_personal(model, task, [2, 9, 14], many, steps=3)
    user = node.trainable[[9]]
    for name, value in one.rows(model, user).values.items():
        torch.testing.assert_close(many.rows(model, user).values[name], value, rtol=1e-9, atol=0)


# ---------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "setting", ["personal.learning_rate=0.02", "personal.parts=gate", "personal.from_stage=routing"]
)
def test_a_setting_changes_what_is_kept(engine, setting) -> None:
    stage = "alignment"
    kept = [trained(*engine(*given), stage).arrays() for given in ((), (setting,))]
    names = [set(one) for one in kept]
    assert names[0] != names[1] or not np.allclose(*(one["gate/values"] for one in kept))
