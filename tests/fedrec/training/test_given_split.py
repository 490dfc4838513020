"""A split that the publisher gives holds out as surely as the others do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fedrec.data import PreparedData, prepare
from fedrec.stages import STAGES

USERS, ITEMS = 60, 40  # as many items as the toy model has


def data_of(folder: Path, seed: int) -> PreparedData:
    """A prepared MMRec folder. `seed` shuffles what is held out and when; the rest is the same."""
    folder.mkdir()
    generator, other = np.random.default_rng(0), np.random.default_rng(seed)
    rows = ["userID\titemID\ttimestamp\tx_label"]
    for user in range(USERS):
        items = generator.choice(ITEMS, size=12, replace=False)
        labels = np.sort(generator.choice(3, size=12, p=[0.6, 0.2, 0.2]))
        held_out = labels > 0
        items[held_out] = other.permutation(items[held_out])
        times = np.where(held_out, other.integers(0, 50, 12), np.arange(12) * 3)
        columns = zip(items, times, labels, strict=True)
        rows += [f"{user}\t{item}\t{time}\t{label}" for item, time, label in columns]
    (folder / "toy.inter").write_text("\n".join(rows) + "\n")
    for name, width in (("image", 12), ("text", 10)):
        np.save(folder / f"{name}_feat.npy", generator.normal(size=(ITEMS, width)))
    return PreparedData.load(prepare("mmrec", source=folder, out=folder / "out"))


@pytest.mark.parametrize("stage", STAGES)
def test_training_is_bit_identical_whatever_is_held_out(
    toy_config, toy_node, toy_model, tmp_path, stage
) -> None:
    config = toy_config(f"stages.{stage}.negatives=60")
    model = toy_model(config)
    nodes = [toy_node(config, data=data_of(tmp_path / str(seed), seed)) for seed in (1, 2)]
    assert not np.array_equal(nodes[0].data.items, nodes[1].data.items)
    assert nodes[0].data.catalogue_fingerprint == nodes[1].data.catalogue_fingerprint
    one, other = (node.train(model, node.task(stage), 1, range(8)) for node in nodes)
    assert one.update_sum and one.loss_sum == other.loss_sum
    assert torch.equal(one.rows, other.rows)
    for name, value in one.update_sum.items():
        assert torch.equal(value, other.update_sum[name]), name
    ranks = [node.rank(model, STAGES[stage].active, "test").rank["full"] for node in nodes]
    assert len(ranks[0]) > USERS / 2 and not np.array_equal(*ranks)
