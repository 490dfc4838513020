"""What a node computes, over a real prepared folder."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedrec.data import PreparedData, partition_users
from fedrec.evaluation.metrics import add_sums
from fedrec.evaluation.targets import users_with_target
from fedrec.memory import residency
from fedrec.model.feddmmr import FedDMMR, Modality, groups
from fedrec.stages import STAGES
from fedrec.training.cohort import CohortUpdate
from fedrec.training.losses import window_losses
from fedrec.training.node import Node, load_modalities

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
    toy_config, toy_node, toy_data
) -> None:
    """The windows of the longest history, drawn once, twice and all."""
    config = toy_config("federation.draw=windows", "training.random_cuts=false")
    node, length = toy_node(config), config.model.max_len
    pairs = int(toy_data.train_end.max()) - 1
    windows = -(-pairs // length)
    assert windows > 2
    user = int(toy_data.train_end.argmax())
    places = np.flatnonzero(node.drawn_from[:] == user).tolist()
    assert len(places) == windows
    task = node.task("backbone")
    for count, examples in ((1, length), (2, 2 * length), (windows, pairs)):
        assert node._weight(user, count) == min(examples, config.federation.max_weight)
        batch = node._step(np.array([user]), task, 1, 0, np.array([count]))
        assert len(batch.user) == count


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


# Nothing used in training may depend on what is held out


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
        one, other = (train(node, model, stage, MEMBERS, number) for node in nodes)
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
    config = toy_config("model.dropout=0", f"model.router={router}", "training.random_cuts=false")
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
        config = toy_config(f"model.dropout={rate}")
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


# What a node remembers


def test_the_memory_follows_from_all_modalities(toy_config, toy_node, toy_data) -> None:
    node = toy_node(toy_config())
    user = int(np.argmax(toy_data.train_end))
    items = toy_data.train_items(user).astype(np.int64)
    content = np.concatenate(
        [modality.values[items].numpy() for modality in node.modalities.values()], axis=1
    )
    content /= np.linalg.norm(content, axis=1, keepdims=True).clip(min=1e-12)
    expected = residency(content, len(items), node.config.memory)
    assert np.array_equal(node._history(user, remembers=True).gone, expected)
    assert node._history(user, remembers=False).gone is None


def test_without_features_the_memory_is_first_in_first_out(toy_config, toy_node, toy_data) -> None:
    node = toy_node(toy_config("model.visual=", "model.semantic="))
    assert node.modalities == {}
    user = int(np.argmax(toy_data.train_end))
    expected = residency(None, int(toy_data.train_end[user]), node.config.memory)
    assert np.array_equal(node._history(user, remembers=True).gone, expected)


def test_features_by_expert(toy_config, toy_data) -> None:
    config = toy_config("model.visual=text", "model.semantic=")
    assert config.model.modalities == {"visual": "text"}
    held = load_modalities(toy_data, config)
    assert held.keys() == {"visual"} and held["visual"].values.shape == (41, 10)
    assert held["visual"].values.dtype == torch.float32
    assert held["visual"].present.tolist() == toy_data.features["text"].present.tolist()


def test_a_further_modality_is_a_file_and_a_line(toy_config, toy_node, toy_model) -> None:
    config = toy_config("model.further=audio")
    node, model = toy_node(config), toy_model(config)
    assert model.expert_names == ("audio", "collaborative", "semantic", "visual")
    assert node.modalities["audio"].values.shape == (41, 6)  # as the file has it, nowhere set
    update = node.train(model, node.task("alignment"), 1, list(range(60))).dense(ITEMS)
    moved = groups(model)["audio_expert"]
    assert all(update[name].abs().max() > 0 for name in moved)


def with_missing(modalities: dict[str, Modality], share: float) -> dict[str, Modality]:
    """Every modality with `share` of the items masked; what stands in masked rows is nonsense."""
    generator = torch.Generator().manual_seed(0)
    masked = {}
    for name, modality in modalities.items():
        order = torch.rand(len(modality.present), generator=generator).argsort()
        missing = torch.zeros(len(order), dtype=torch.bool)
        missing[order[: round(share * len(order))]] = True
        missing[0] = True
        nonsense = 1e3 * torch.randn(modality.values.shape, generator=generator)
        values = torch.where(missing[:, None], nonsense, modality.values)
        masked[name] = Modality(values, ~missing)
    return masked


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("stage", ["alignment", "routing"])
def test_a_share_of_the_features_may_be_missing(
    stage, share, toy_config, toy_model, toy_data
) -> None:
    """Masked rows touch neither an update nor a score; with all masked the experts stand still."""
    config = toy_config("model.collaborative=false")
    model, everybody = toy_model(config), range(toy_data.num_users)
    masked = with_missing(load_modalities(toy_data, config), share)
    empty = {
        name: Modality(torch.where(held.present[:, None], held.values, 0.0), held.present)
        for name, held in masked.items()
    }
    users = users_with_target(toy_data, "validation", np.arange(20, 30))
    results = []
    for modalities in (masked, empty):
        node = Node(toy_data, everybody, config, modalities)
        update = node.train(model, node.task(stage), 1, list(range(30))).dense(ITEMS)
        with torch.no_grad():
            scores = node.scorer(model, STAGES[stage].active, "validation")(users)
        results.append((update, scores))
    (update, scores), (update_empty, scores_empty) = results
    torch.testing.assert_close(scores, scores_empty)
    assert all(torch.isfinite(value).all() for value in update.values())
    for name, value in update.items():
        torch.testing.assert_close(value, update_empty[name], msg=name)
    moved = max(
        float(update[name].abs().max())
        for expert in model.expert_names
        for name in groups(model)[f"{expert}_expert"]
    )
    assert (moved == 0) == (share == 1)


def test_a_round_trains_differently_from_another(toy_config, toy_node, toy_model) -> None:
    config = toy_config()
    node, model = toy_node(config), toy_model(config)
    one, other = (train(node, model, "backbone", MEMBERS, number) for number in (1, 2))
    assert one.loss_sum != other.loss_sum
