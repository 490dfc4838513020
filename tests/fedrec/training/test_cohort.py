"""The cohort engine against the plain loop: one user after the other, each with an own model.

In double precision, so that a tolerance of 1e-6 leaves no room for anything but rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedrec.config import Config
from fedrec.model.feddmmr import FedDMMR, Modality, groups
from fedrec.stages import STAGES, stage_groups
from fedrec.training import cohort as cohort_module
from fedrec.training.cohort import CohortUpdate, _by_length
from fedrec.training.copies import _user_chunks
from fedrec.training.losses import window_losses
from fedrec.training.node import Node
from fedrec.training.touched import TABLE

ITEMS = 40  # of the toy data
MEMBERS = [0, 1, 2, 5, 9, 14, 30, 60, 97]  # the first two have many windows
ROUND = 4


@pytest.fixture
def engine(toy_config, toy_node, toy_model) -> Callable[..., tuple[Node, FedDMMR]]:
    """A node and a model of a configuration, both in double precision, dropout on."""

    def make(*overrides: str) -> tuple[Node, FedDMMR]:
        config: Config = toy_config(*overrides)
        assert config.stages.backbone.dropout > 0
        node, model = toy_node(config), toy_model(config).double()
        node.modalities = {
            name: Modality(modality.values.double(), modality.present)
            for name, modality in node.modalities.items()
        }
        return node, model

    return make


def train(engine: tuple[Node, FedDMMR], stage: str, members: list[int] = MEMBERS) -> CohortUpdate:
    node, model = engine
    return node.train(model, node.task(stage), ROUND, members)


def train_alone(
    node: Node, model: FedDMMR, stage: str, user: int
) -> tuple[dict[str, Tensor], float]:
    """One user's update by gradient descent on a copy of the model, and its first loss."""
    task, own = node.task(stage), deepcopy(model)
    parameters = dict(own.named_parameters())
    wanted = stage_groups(task.stage, groups(own))
    trained = {name: parameters[name] for group in wanted for name in groups(own)[group]}
    losses, start = [], dict(model.named_parameters())
    for step in range(task.training.local_steps):
        batch = node._step(node.trainable[[user]], task, ROUND, step)
        windows = window_losses(own, task, batch, node.modalities)
        loss = windows.total(task.stage_config).sum()
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        with torch.no_grad():
            for (name, value), gradient in zip(trained.items(), gradients, strict=True):
                pull = task.training.proximal * (value - start[name])
                value -= task.training.local_learning_rate * (
                    pull if gradient is None else gradient + pull
                )
    update = {name: (value - start[name]).detach() for name, value in trained.items()}
    return update, losses[0]


def examples(node: Node, user: int) -> int:
    """What a user's whole history has to train on."""
    return int(node.data.train_end[user]) - 1


def norm(update: dict[str, Tensor]) -> float:
    return float(sum(float(value.square().sum()) for value in update.values()) ** 0.5)


def plain_loop(engine: tuple[Node, FedDMMR], stage: str) -> CohortUpdate:
    """What the cohort engine must equal."""
    node, model = engine
    total = CohortUpdate({}, torch.arange(ITEMS + 1))
    for user in MEMBERS:
        update, loss = train_alone(node, model, stage, user)
        bound = node.task(stage).training.clip_norm
        scale = min(1.0, bound / norm(update)) if bound else 1.0
        weight = node._weight(examples(node, node.trainable[user]))
        for name, value in update.items():
            total.update_sum[name] = total.update_sum.get(name, 0) + weight * scale * value
        total.weight_sum += weight
        total.loss_sum += weight * loss
        total.users += 1
    return total


def assert_same(found: CohortUpdate, expected: CohortUpdate) -> None:
    assert found.users == expected.users
    assert found.weight_sum == pytest.approx(expected.weight_sum, rel=1e-6)
    assert found.loss_sum == pytest.approx(expected.loss_sum, rel=1e-6)
    sums = found.dense(ITEMS)
    assert sums.keys() == expected.update_sum.keys()
    for name, value in expected.update_sum.items():
        largest = float(value.abs().max())
        assert largest > 0, f"{name} is not trained, so this test proves nothing of it"
        difference = float((sums[name] - value).abs().max())
        assert difference < 1e-6 * largest, f"{name} differs by {difference}, of {largest}"


@pytest.mark.parametrize("stage", STAGES)
def test_one_step_equals_the_plain_loop(engine, stage) -> None:
    parts = engine()
    assert_same(train(parts, stage), plain_loop(parts, stage))


@pytest.mark.parametrize("stage", STAGES)
def test_several_steps_equal_the_plain_loop(engine, stage) -> None:
    parts = engine("training.local_steps=3")
    assert_same(train(parts, stage), plain_loop(parts, stage))


@pytest.mark.parametrize("clip", ["0.0", "0.05"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_proximal_term_equals_the_plain_loop(engine, stage, clip) -> None:
    parts = engine("training.local_steps=3", "training.proximal=0.7", f"training.clip_norm={clip}")
    assert_same(train(parts, stage), plain_loop(parts, stage))


def test_a_proximal_term_holds_updates_back_from_the_second_step_on(engine) -> None:
    """rate * mu = 1: a step leaves nothing of the way so far but its own gradient."""

    def length(steps: int, proximal: float) -> float:
        settings = [f"training.local_steps={steps}", f"training.proximal={proximal}"]
        return norm(train(engine(*settings), "backbone").update_sum)

    assert length(4, 0.0) > length(4, 0.5) > length(4, 2.0)
    assert length(4, 2.0) < 1.5 * length(1, 0.0) < length(4, 0.0)


@pytest.mark.parametrize("objective", ["scaled_softmax", "gbce", "in_batch"])
def test_other_objectives_equal_the_plain_loop(engine, objective) -> None:
    parts = engine("training.local_steps=2", f"training.objective={objective}")
    assert_same(train(parts, "backbone"), plain_loop(parts, "backbone"))


OTHER_MODEL = "attention=history adapter_init=random squeeze=7 gate=none router=flat".split()


@pytest.mark.parametrize(("stage", "steps"), [("alignment", 1), ("routing", 2)])
def test_other_models_equal_the_plain_loop(engine, stage, steps) -> None:
    parts = engine(f"training.local_steps={steps}", *(f"model.{key}" for key in OTHER_MODEL))
    assert_same(train(parts, stage), plain_loop(parts, stage))


@pytest.mark.parametrize("steps", [1, 2])
def test_without_a_memory_only_the_trunk_moves(engine, steps) -> None:
    none = ["memory.short_term=0", "memory.long_term=0", "stages.alignment.rounds=0"]
    parts = engine(f"training.local_steps={steps}", *none, "stages.force=true")
    update = train(parts, "routing").update_sum
    moved = {name.split(".")[0] for name, value in update.items() if value.abs().max() > 0}
    assert moved == {"backbone"} and all(value.isfinite().all() for value in update.values())


@pytest.mark.parametrize("transitions", [0, 4])
@pytest.mark.parametrize("stage", STAGES)
def test_copies_of_one_step_equal_one_backward_pass(engine, stage, transitions) -> None:
    width = f"model.transitions={transitions}"
    one_pass = train(engine(width), stage)
    copies = train(engine(width, "training.clip_norm=1e9"), stage)  # a bound needs copies
    assert_same(copies, one_pass)


@pytest.mark.parametrize("stage", STAGES)
def test_some_windows_and_positions_equal_the_plain_loop(engine, stage) -> None:
    drawn = [f"stages.{stage}.windows=2", f"stages.{stage}.positions=3", "model.transitions=4"]
    parts = engine("training.local_steps=2", *drawn)
    assert_same(train(parts, stage), plain_loop(parts, stage))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("stage", ["backbone", "routing"])
def test_the_update_of_every_user_is_bounded(engine, stage, steps) -> None:
    free = engine(f"training.local_steps={steps}")
    norms = [norm(train_alone(*free, stage, user)[0]) for user in MEMBERS]
    bound = sorted(norms)[len(norms) // 2]
    parts = engine(f"training.local_steps={steps}", f"training.clip_norm={bound!r}")
    for user, unbounded in zip(MEMBERS, norms, strict=True):
        alone = train(parts, stage, [user])
        found = norm(alone.update_sum) / alone.weight_sum
        assert found == pytest.approx(min(bound, unbounded), rel=1e-5)
    assert_same(train(parts, stage), plain_loop(parts, stage))


@pytest.mark.parametrize("stage", ["backbone", "alignment"])
def test_how_many_users_fit_does_not_change_the_result(engine, stage, monkeypatch) -> None:
    everyone = list(range(40))
    parts = engine("training.local_steps=2")
    together = train(parts, stage, everyone)
    sizes: list[int] = []

    def noting(*args: object, **named: object) -> list[Tensor]:
        chunks = list(_user_chunks(*args, **named))  # type: ignore[arg-type]
        sizes.extend(map(len, chunks))
        return chunks

    monkeypatch.setattr("fedrec.training.copies._user_chunks", noting)
    few = engine("training.local_steps=2", "training.memory_mib=1")
    assert_same(train(few, stage, everyone), together)
    assert len(sizes) > 2 and sum(sizes) == 40


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("bound", "value"),
    [("_WINDOWS_AT_ONCE", 4), ("_POSITIONS_AT_ONCE", 7), ("_PADDING_AT_MOST", 0)],
)
def test_how_windows_are_put_together_does_not_change_the_result(
    engine, monkeypatch, stage, bound, value
) -> None:
    parts = engine()
    together = train(parts, stage)
    parts_before = count_parts(parts, stage)
    monkeypatch.setattr(cohort_module, bound, value)
    assert count_parts(parts, stage) != parts_before
    assert_same(train(parts, stage), together)


def count_parts(engine: tuple[Node, FedDMMR], stage: str) -> int:
    node, _ = engine
    batch = node._step(node.trainable[MEMBERS], node.task(stage), ROUND, 0)
    return len(list(_by_length(batch)))


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_the_model_stays_as_it_is(engine, stage, steps) -> None:
    parts = engine(f"training.local_steps={steps}")
    before = {name: value.detach().clone() for name, value in parts[1].named_parameters()}
    train(parts, stage)
    for name, value in parts[1].named_parameters():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("stage", STAGES)
def test_what_the_stage_trains_and_nothing_else(engine, stage) -> None:
    expected = {
        "backbone": {"item_embedding", "backbone"},
        "alignment": {"visual", "semantic", "collaborative", "fusion", "gate"},
        "routing": {"router", "visual", "semantic", "collaborative", "fusion", "gate", "backbone"},
    }
    update = train(engine("model.transitions=4"), stage).update_sum
    found = {name.split(".")[0].removesuffix("_expert") for name in update}
    beside = set() if stage == "backbone" else {"transition_gate"}
    assert found == expected[stage] | beside


@pytest.mark.parametrize("steps", [1, 2])
def test_only_items_that_the_user_names_move(engine, steps) -> None:
    node, _ = parts = engine(f"training.local_steps={steps}")
    table = train(parts, "backbone", [9]).dense(ITEMS)["item_embedding.weight"]
    moved = set(torch.nonzero(table.abs().sum(1)).flatten().tolist())
    named: set[int] = set()
    for step in range(steps):
        batch = node._step(node.trainable[[9]], node.task("backbone"), ROUND, step)
        for part in (batch.item_ids, batch.targets, batch.negatives):
            named |= set(part.flatten().tolist())
    assert moved == named - {0}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("members", [[9], [5, 9, 14], MEMBERS])
def test_rows_are_what_the_users_name_and_scatter_to_the_whole_table(
    engine, steps, members
) -> None:
    """Computed on the rows alone and on the whole table, one and the same update."""
    node, model = parts = engine(f"training.local_steps={steps}")
    found = train(parts, "backbone", members)
    named = {0}
    for step in range(steps):
        batch = node._step(node.trainable[members], node.task("backbone"), ROUND, step)
        for ids in (batch.item_ids, batch.targets, batch.negatives):
            named |= set(ids.flatten().tolist())
    assert found.rows.tolist() == sorted(named)
    assert len(members) > 1 or len(named) < ITEMS / 2
    sent = found.update_sum[TABLE]
    assert sent.shape == (len(named), node.config.model.dim)
    table = found.dense(ITEMS)[TABLE]
    assert table.shape == (ITEMS + 1, node.config.model.dim)
    assert torch.equal(table[found.rows], sent)
    alone = [
        (
            node._weight(examples(node, node.trainable[user])),
            train_alone(node, model, "backbone", user)[0],
        )
        for user in members
    ]
    expected = sum(weight * update[TABLE] for weight, update in alone)
    torch.testing.assert_close(table, expected, rtol=1e-6, atol=1e-12)
    assert found.update_sum[TABLE] is sent  # the rows stay as they are


@pytest.mark.parametrize("steps", [1, 2])
def test_weights_of_rows_are_those_of_the_users_who_met_the_item(engine, steps) -> None:
    """As an input or a target, in any step, each user once."""
    node, _ = parts = engine(
        f"training.local_steps={steps}",
        "federation.item_averaging=row",
        "stages.backbone.windows=1",
    )
    found = train(parts, "backbone")
    expected = torch.zeros(ITEMS + 1)
    for user in node.trainable[MEMBERS].tolist():
        met: set[int] = set()
        for step in range(steps):
            batch = node._step(np.array([user]), node.task("backbone"), ROUND, step)
            met |= {*batch.item_ids.flatten().tolist(), *batch.targets.flatten().tolist()}
        expected[sorted(met - {0})] += node._weight(examples(node, user))
    torch.testing.assert_close(found.dense_row_weights(ITEMS), expected)
    assert found.row_weights is not None and len(found.row_weights) == len(found.rows)
    assert 0 < float(expected.max()) <= found.weight_sum
    assert int((expected > 0).sum()) < len(found.rows) - 1  # others are negatives alone


def test_weights_of_rows_are_told_where_they_are_asked_for_and_the_table_trains(engine) -> None:
    assert train(engine(), "backbone").row_weights is None
    assert train(engine("federation.item_averaging=row"), "routing").row_weights is None
    with pytest.raises(ValueError, match="not asked for"):
        train(engine(), "backbone").dense_row_weights(ITEMS)


@pytest.mark.parametrize("steps", [1, 2])
def test_where_the_table_does_not_train_there_are_no_rows(engine, steps) -> None:
    found = train(engine(f"training.local_steps={steps}"), "routing")
    assert found.rows.tolist() == [] and TABLE not in found.update_sum
    assert found.dense(ITEMS).keys() == found.update_sum.keys()


def test_dense_by_hand() -> None:
    moved = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    update = CohortUpdate({TABLE: moved, "gate": torch.ones(1)}, torch.tensor([0, 2, 3]))
    sums = update.dense(4)
    assert sums[TABLE].tolist() == [[0, 0], [0, 0], [1, 2], [3, 4], [0, 0]]
    assert torch.equal(sums["gate"], torch.ones(1))


def test_local_steps_draw_anew(engine) -> None:
    node, _ = engine("training.local_steps=2")
    first, second = (
        node._step(node.trainable[MEMBERS], node.task("backbone"), ROUND, step) for step in (0, 1)
    )
    assert not torch.equal(first.negatives, second.negatives)
    assert not torch.equal(first.keys, second.keys)


def test_gradients_are_not_left_behind(engine) -> None:
    parts = engine()
    train(parts, "backbone")
    assert all(value.grad is None for value in parts[1].parameters())


def test_the_item_table_may_train_beside_experts(engine) -> None:
    """No stage does so today. A stage is data, so both engines must be ready for one that does."""
    found = []
    for overrides in ((), ("training.clip_norm=1e9",)):
        node, model = engine(*overrides)
        task = node.task("routing")
        wider = replace(task, stage=replace(task.stage, trains=("item_embedding", "*_expert")))
        found.append(node.train(model, wider, ROUND, MEMBERS))
    assert_same(*found)
    assert (found[0].dense(ITEMS)["item_embedding.weight"][0] == 0).all()
