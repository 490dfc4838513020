"""What a process keeps between messages, and what it must not mix up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict

from client import node_cache
from client.node_cache import build_untrained, load_model, load_node, partition_of
from fedrec.checkpoints import fingerprint
from fedrec.checkpoints.tensors import model_arrays
from fedrec.config import Config, to_flat
from fedrec.data import cut_users
from fedrec.data.parting import partition_folder
from fedrec.errors import ConfigError, DataError
from tests.loopback import write_shop

Configure = Callable[..., Config]


def context(config: Config, **node_config: Any) -> Context:
    run_config = dict(to_flat(config))
    return Context(
        run_id=1, node_id=1, node_config=node_config, state=RecordDict(), run_config=run_config
    )


@pytest.fixture
def threads() -> Iterator[None]:
    """Undo what a test does to torch's number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_partitions_share_the_users_among_them(small_config: Configure) -> None:
    nodes = [
        load_node(context(small_config(), **{"partition-id": index, "num-partitions": 4}))
        for index in range(4)
    ]

    users = np.concatenate([node.users for node in nodes])
    np.testing.assert_array_equal(users, np.arange(14))
    work = [int(node.data.train_end[node.users.start : node.users.stop].sum()) for node in nodes]
    largest = int(nodes[0].data.train_end.max())
    assert max(work) <= sum(work) / 4 + largest


def test_a_node_stands_where_it_is_told_else_where_its_folder_was_cut(
    small_config: Configure, shop: Path, tmp_path: Path
) -> None:
    partition_folder(shop, tmp_path / "parts", nodes=3)
    for settings, place in (
        ({"partition-id": 1, "num-partitions": 4}, 1),
        ({"data": str(tmp_path / "parts" / "node-3")}, 2),
        ({}, 0),
    ):
        asked = context(small_config(), **settings)
        assert partition_of(load_node(asked), asked) == place


def test_users_are_dealt_once_a_process(
    small_config: Configure, monkeypatch: pytest.MonkeyPatch, shop: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(shop, tmp_path / "again")  # nothing is known of this folder yet
    dealt = []
    monkeypatch.setattr(
        node_cache, "cut_users", lambda *asked: dealt.append(asked[1]) or cut_users(*asked)
    )

    for index in range(14):
        settings = {"partition-id": index, "num-partitions": 14, "data": str(folder)}
        assert load_node(context(small_config(), **settings)).users == range(index, index + 1)

    assert dealt == [14]


def test_a_node_without_a_partition_has_all_users(small_config: Configure) -> None:
    assert len(load_node(context(small_config())).users) == 14


def test_a_partition_that_does_not_exist(small_config: Configure) -> None:
    with pytest.raises(DataError, match="partition 4 of 4"):
        load_node(context(small_config(), **{"partition-id": 4, "num-partitions": 4}))


def test_the_nodes_own_folder_comes_before_the_runs(
    small_config: Configure, tmp_path: Path
) -> None:
    own = write_shop(tmp_path / "own", users=5, items=10, seed=1)

    node = load_node(context(small_config(), data=str(own)))

    assert node.data.path == own
    assert len(node.users) == 5
    assert len(load_node(context(small_config())).users) == 14


def test_a_folder_that_is_not_there(small_config: Configure) -> None:
    with pytest.raises(DataError, match="/nowhere"):
        load_node(context(small_config(), data="/nowhere"))


def test_the_nodes_own_device_comes_before_the_runs(small_config: Configure) -> None:
    node = load_node(context(small_config(run={"device": "cuda"}), device="cpu"))

    assert node.config.run.device == "cpu"


def test_a_node_and_its_model_are_kept(small_config: Configure) -> None:
    asked = context(small_config(), **{"partition-id": 0, "num-partitions": 2})
    again = context(small_config(), **{"partition-id": 0, "num-partitions": 2})
    other = context(small_config(), **{"partition-id": 1, "num-partitions": 2})

    assert load_node(asked) is load_node(again)
    assert load_node(asked) is not load_node(other)
    assert load_node(asked).data is load_node(other).data
    assert load_node(asked).modalities is load_node(other).modalities
    assert load_model(asked) is load_model(other)


def test_other_settings_get_another_node_and_another_model(small_config: Configure) -> None:
    one = context(small_config())
    other = context(small_config(model={"dim": 4}, memory={"short_term": 2}))

    assert load_node(one) is not load_node(other)
    assert load_node(other).config.memory.short_term == 2
    assert load_model(other).dim == 4
    assert load_model(one).dim == 8


def test_the_model_depends_on_the_seed_alone(small_config: Configure) -> None:
    prints = [
        fingerprint(model_arrays(load_model(context(small_config(run={"seed": seed, "out": out})))))
        for seed, out in ((5, "a"), (5, "b"), (6, "a"))
    ]

    assert prints[0] == prints[1] != prints[2]


def test_an_untrained_model_is_the_seeds_whatever_became_of_the_processs(
    small_config: Configure,
) -> None:
    asked = context(small_config(run={"seed": 5}))
    before = fingerprint(model_arrays(build_untrained(asked)))
    load_model(asked).gate.data.fill_(7.0)

    again = build_untrained(asked)

    assert again is not load_model(asked)
    assert fingerprint(model_arrays(again)) == before
    load_model(asked).gate.data.fill_(asked.run_config["model.gate_init"])


def test_an_expert_without_features_is_left_out(small_config: Configure) -> None:
    model = load_model(context(small_config(model={"visual": "", "collaborative": False})))

    assert model.expert_names == ("semantic",)


def test_threads_are_set_where_they_are_configured(small_config: Configure, threads: None) -> None:
    torch.set_num_threads(1)
    load_model(context(small_config(run={"threads": 0, "seed": 71})))
    assert torch.get_num_threads() == 1

    load_model(context(small_config(run={"threads": 2, "seed": 72})))
    assert torch.get_num_threads() == 2


def test_a_run_config_of_another_version(small_config: Configure) -> None:
    asked = context(small_config())
    asked.run_config["model.width"] = 3

    with pytest.raises(ConfigError, match=r"model\.width"):
        load_node(asked)


def test_what_is_forgotten_is_read_anew(small_config: Configure) -> None:
    about = context(small_config())
    node, model = load_node(about), load_model(about)
    assert (load_node(about), load_model(about)) == (node, model)
    node_cache.forget()
    assert load_node(about) is not node
    assert load_node(about).data is not node.data
    assert load_model(about) is not model
