"""Nobody trains on a cold item, and what is held out of them changes nothing in training."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch

from fedrec.data import Columns, PreparedData, prepare, write_features
from fedrec.data.atomic import write_json
from fedrec.data.cold_folder import prepare_cold
from fedrec.data.folder import HISTORIES, SPLIT, digests, read_json, record_files
from fedrec.data.histories import open_histories, write_histories
from fedrec.stages import STAGES
from fedrec.training.batches import ITEM_TENSORS

USERS, ITEMS, COLD = 40, 44, 4  # the toy model has 40 items: as many as are warm


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("cold")
    generator = np.random.default_rng(0)
    rows = [
        f"{user},{item},{time}"
        for user in range(USERS)
        for time, item in enumerate(generator.choice(ITEMS, size=22, replace=False))
    ]
    (folder / "toy.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    columns = Columns(user="user", item="item", time="time")
    out = prepare("csv", source=folder / "toy.csv", out=folder / "out", columns=columns)
    for name, width in (("image", 12), ("text", 10)):
        present = np.arange(ITEMS + 1) % 7 != 3
        write_features(out, name, generator.normal(size=(ITEMS + 1, width)), present, {})
    prepare_cold(out, folder / "cold")
    return PreparedData.load(folder / "cold")


def exchanged(data: PreparedData, folder: Path) -> PreparedData:
    """The same folder, its cold interactions permuted among users."""
    copied = PreparedData.load(copytree(data.path, folder))
    histories = open_histories(copied.path, copied.manifest, {})
    items = np.array(histories.items)
    held = items > data.warm_items
    items[held] = np.random.default_rng(1).permutation(items[held])
    write_histories(folder, type(histories)(histories.offsets, items, histories.held_out))
    split = read_json(folder / SPLIT)
    split["sha256"] |= digests(folder, [HISTORIES])
    write_json(folder / SPLIT, split)
    record_files(folder, [HISTORIES, SPLIT])
    return PreparedData.load(folder)


@pytest.mark.parametrize("stage", STAGES)
def test_no_cold_item_is_in_any_training_batch(toy_config, toy_node, cold, stage) -> None:
    assert (cold.warm_items, cold.num_items) == (ITEMS - COLD, ITEMS)
    config = toy_config(f"stages.{stage}.negatives=300")
    node = toy_node(config, data=cold)
    task = node.task(stage)
    users = node.trainable[np.arange(len(node.trainable))]
    assert len(users) == USERS
    for number in (1, 2):
        batch = node._step(users, task, number, 0)
        named = {name: getattr(batch, name) for name in ITEM_TENSORS}
        assert all((ids <= cold.warm_items).all() for ids in named.values())
        assert set(range(1, cold.warm_items + 1)) <= set(named["negatives"].flatten().tolist())


@pytest.mark.parametrize("stage", STAGES)
def test_training_is_bit_identical_when_cold_interactions_are_exchanged(
    toy_config, toy_node, toy_model, cold, tmp_path, stage
) -> None:
    config = toy_config(f"stages.{stage}.negatives=60")
    model, other = toy_model(config), exchanged(cold, tmp_path / "other")
    assert not np.array_equal(cold.items, other.items)
    nodes = [toy_node(config, data=data) for data in (cold, other)]
    updates = [node.train(model, node.task(stage), 1, range(USERS)) for node in nodes]
    assert updates[0].update_sum and updates[0].loss_sum == updates[1].loss_sum
    assert torch.equal(updates[0].rows, updates[1].rows)
    for name, value in updates[0].update_sum.items():
        assert torch.equal(value, updates[1].update_sum[name]), name
    active = STAGES[stage].active
    validations = [node.evaluate(model, active, "validation") for node in nodes]
    assert validations[0] == validations[1]
    tests = [node.rank(model, active, "test").rank["cold"] for node in nodes]
    assert len(tests[0]) > USERS / 2 and not np.array_equal(*tests)


@pytest.mark.parametrize("stage", STAGES)
def test_the_test_asks_for_predicted_items(toy_config, toy_node, toy_model, cold, stage) -> None:
    config = toy_config()
    model, node = toy_model(config), toy_node(config, data=cold)
    ranks = node.rank(model, STAGES[stage].active, "test")
    assert (ranks.target > cold.warm_items).all()
    assert set(ranks.rank) == {"full", "sampled100", "cold"}
    assert (ranks.rank["cold"] <= ranks.rank["full"]).all()
    assert (ranks.candidates["cold"] <= COLD).all()
    sums = node.evaluate(model, STAGES[stage].active, "test")
    assert sums["test/cold/users"] == sums["test/full/users"] == len(ranks.users)


def test_loud_items_get_the_first_places(toy_config, toy_node, toy_model, cold) -> None:
    places = []
    for loudness in (0.01, 1, 100):
        config = toy_config(f"evaluation.new_item_loudness={loudness}")
        model, node = toy_model(config), toy_node(config, data=cold)
        with torch.no_grad():  # so that features tell something
            model.item_embedding.weight[1:] = node.modalities["visual"].values[1:41, :8]
            score = node.score_histories(model, STAGES["backbone"].active, ITEMS)
            scores = score(np.arange(USERS), [cold.train_items(user) for user in range(USERS)])
        places.append(float((scores[:, 1:].topk(1).indices >= cold.warm_items).float().mean()))
    assert places[0] < places[1] < places[2]


def test_items_without_features_are_masked_and_last(toy_config, toy_model, toy_node, cold) -> None:
    config = toy_config("model.visual=", "model.semantic=")
    model, node = toy_model(config), toy_node(config, data=cold)
    assert not node.modalities
    active = STAGES["routing"].active
    score = node.score_histories(model, active, cold.num_items)
    with torch.no_grad():
        scores = score(np.array([0]), [cold.history(0)])
    assert torch.isneginf(scores[0, cold.warm_items + 1 :]).all()
    assert torch.isfinite(scores[0, : cold.warm_items + 1]).all()
    ranks = node.rank(model, active, "test")
    assert np.array_equal(ranks.rank["cold"], ranks.candidates["cold"])
    assert np.array_equal(ranks.rank["full"], ranks.candidates["full"])


def test_cold_items_of_the_past_are_no_input(toy_config, toy_model, toy_node, cold) -> None:
    config = toy_config()
    model, node = toy_model(config), toy_node(config, data=cold)
    score = node.score_histories(model, STAGES["routing"].active, cold.num_items)
    warm = np.array([3, 9, 20, 7], dtype=np.int32)
    mixed = np.array([41, 3, 9, 44, 20, 7, 42], dtype=np.int32)
    with torch.no_grad():
        one, other = (score(np.array([0]), [past]) for past in (warm, mixed))
    assert torch.equal(one, other)
