"""A node over its own folder trains and measures what a node over a share of the whole does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedrec.data import PreparedData, partition_users
from fedrec.data.parting import partition_folder
from fedrec.evaluation.sampling import sample_users
from fedrec.stages import STAGES

NODES = 3
SPLITS = ("validation", "test")


@pytest.fixture(scope="module")
def parts(toy_data, tmp_path_factory) -> list[PreparedData]:
    out = tmp_path_factory.mktemp("cut") / "out"
    partition_folder(toy_data.path, out, nodes=NODES)
    return [PreparedData.load(out / f"node-{index + 1}") for index in range(NODES)]


@pytest.fixture(scope="module")
def scattered(toy_data, tmp_path_factory) -> list[PreparedData]:
    """Parts whose users are not neighbours in the whole."""
    folder = tmp_path_factory.mktemp("scattered")
    rows = [f"{key},{number % 3}" for number, key in enumerate(toy_data.user_keys())]
    (folder / "users.csv").write_text("\n".join(["user,shop", *rows]) + "\n")
    partition_folder(toy_data.path, folder / "out", by="shop", users=folder / "users.csv")
    return [PreparedData.load(folder / "out" / f"node-{index + 1}") for index in range(3)]


@pytest.mark.parametrize("cut", ["parts", "scattered"])
@pytest.mark.parametrize("split", SPLITS)
def test_every_user_has_the_rank_of_the_whole(
    request, cut, split, toy_config, toy_node, toy_model, toy_data
) -> None:
    config = toy_config()
    model, active = toy_model(config), STAGES["routing"].active
    whole = toy_node(config).rank(model, active, split)
    asked = 0
    for data in request.getfixturevalue(cut):
        found = toy_node(config, data=data).rank(model, active, split)
        places = np.searchsorted(whole.users, data.part.numbers[found.users])
        assert np.array_equal(whole.target[places], found.target)
        for protocol in ("full", "sampled100"):
            assert np.array_equal(whole.rank[protocol][places], found.rank[protocol])
            assert np.array_equal(whole.candidates[protocol][places], found.candidates[protocol])
        asked += len(found.users)
    assert asked == len(whole.users) > 100


@pytest.mark.parametrize("stage", list(STAGES))
def test_training_is_that_of_a_simulated_node(
    stage, parts, toy_config, toy_node, toy_model, toy_data
) -> None:
    config = toy_config()
    for index, data in enumerate(parts):
        users = partition_users(toy_data.train_end, index, NODES)
        updates = []
        for node in (toy_node(config, users=users), toy_node(config, data=data)):
            model = toy_model(config)
            updates.append(node.train(model, node.task(stage), 4, range(10)))
        simulated, own = updates
        assert (own.weight_sum, own.loss_sum) == (simulated.weight_sum, simulated.loss_sum)
        dense = own.dense(toy_data.num_items)
        for name, value in simulated.dense(toy_data.num_items).items():
            assert torch.equal(value, dense[name])


@pytest.mark.parametrize("split", SPLITS)
def test_the_parts_are_asked_whom_the_whole_is_asked(parts, toy_data, split) -> None:
    """Exactly so among users who all have a target; the fewer who have none are not made up for."""
    for count in (1, 20, 100, 1000):
        of_parts = [
            data.part.numbers[sample_users(data, split, count, 0)].tolist() for data in parts
        ]
        asked = {number for numbers in of_parts for number in numbers}
        whole = set(sample_users(toy_data, split, count, 0).tolist())
        assert asked <= whole
        assert count < 1000 or asked == whole


def test_a_sample_is_the_wholes_where_everybody_has_a_target(make_even, tmp_path) -> None:
    whole = make_even(tmp_path / "even")
    partition_folder(whole.path, tmp_path / "out", nodes=4)
    for count in (1, 7, 30):
        asked = []
        for index in range(4):
            data = PreparedData.load(tmp_path / "out" / f"node-{index + 1}")
            asked += data.part.numbers[sample_users(data, "test", count, 3)].tolist()
        assert asked == sample_users(whole, "test", count, 3).tolist()


@pytest.fixture
def make_even():
    """50 users with 4 of 20 items each."""
    from fedrec.data import Columns, prepare

    def make(folder):
        folder.mkdir()
        generator = np.random.default_rng(1)
        rows = [
            f"u{user:02d},i{item},{time}"
            for user in range(50)
            for time, item in enumerate(generator.choice(20, 4, replace=False))
        ]
        (folder / "even.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
        columns = Columns(user="user", item="item", time="time")
        source, out = folder / "even.csv", folder / "out"
        prepare("csv", source=source, out=out, min_interactions=1, columns=columns)
        return PreparedData.load(out)

    return make
