"""PFedRec: a round against autograd one client at a time, what negatives avoid, what is chosen."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

import pfedrec
from fedrec.errors import DataError
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.ranks import rank_in_blocks
from pfedrec_clients import Clients, Rates, local_step, train_round
from pfedrec_examples import Examples, ExampleSource, Unseen

DIM, ITEMS = 3, 6
RATES = Rates(score=0.5, item=2.0, batch=2)


class Changed:
    """Histories with some items replaced."""

    def __init__(self, data, items) -> None:
        self.items, self._data = items, data

    def __getattr__(self, name: str):
        return getattr(self._data, name)

    def history(self, user: int):
        return self.items[self.offsets[user] : self.offsets[user + 1]]


def held_out_swapped(data) -> Changed:
    """The same training, other held-out items."""
    items = data.items.copy()
    for position in (data.validation_position, data.test_position):
        places = (data.offsets[:-1] + position)[position >= 0]
        items[places] = items[places] % data.num_items + 1
    return Changed(data, items)


def test_a_step_by_hand() -> None:
    # One client, rows [1] and [-1], weight 0, bias 0: both are predicted as 1/2.
    local = torch.tensor([[[0.0], [1.0], [-1.0]]])
    own = Clients(torch.zeros(1, 1), torch.zeros(1))
    items, labels = torch.tensor([[1, 2, 0]]), torch.tensor([[1.0, 0.0, 0.0]])
    local_step(local, own, items, labels, Rates(score=2.0, item=4.0, batch=3))
    # Mean gradient of the weight: (-.5 * 1 + .5 * -1) / 2 = -.5, of the bias: 0.
    assert own.weight.item() == pytest.approx(1.0) and own.bias.item() == 0.0
    # Then the rows, under weight 1: error of each sigmoid(1) - 1 = -.268941, over 2, times 4.
    assert local.flatten().tolist() == pytest.approx([0.0, 1 + 0.537883, -1 - 0.537883], abs=1e-5)


@pytest.mark.parametrize("rows_at_once", [ITEMS + 1, 2 * (ITEMS + 1), 1000])
def test_a_round_is_that_of_one_client_after_the_other(monkeypatch, rows_at_once) -> None:
    monkeypatch.setattr("pfedrec_clients._ROWS_AT_ONCE", rows_at_once)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(ITEMS + 1, DIM, generator=generator)
    clients = Clients(torch.randn(4, DIM, generator=generator), torch.randn(4, generator=generator))
    counts = torch.tensor([3, 0, 5, 1])
    items = torch.tensor([1, 2, 1, 4, 4, 6, 5, 4, 2])
    labels = torch.tensor([1.0, 0, 1, 1, 0, 0, 1, 0, 0])
    expected = [
        plain_client(table, clients, user, part_items, part_labels)
        for user, (part_items, part_labels) in enumerate(
            zip(items.split(counts.tolist()), labels.split(counts.tolist()), strict=True)
        )
    ]
    moved, scores = train_round(table, clients, Examples(items, labels, counts.cumsum(0)), RATES)
    for user, (rows, function) in enumerate(expected):
        assert torch.allclose(clients.weight[user], function.weight[0], atol=1e-6)
        assert torch.allclose(clients.bias[user], function.bias[0], atol=1e-6)
        assert torch.allclose(scores[user], function(rows).squeeze(1), atol=1e-5)
    trained = torch.stack([rows for user, (rows, _) in enumerate(expected) if counts[user]])
    assert torch.allclose(moved, trained.mean(0), atol=1e-6)


@torch.enable_grad()
def plain_client(table, clients, user, items, labels):
    """Two optimisers of torch in turn, on the library's cross-entropy."""
    rows, function = nn.Parameter(table.clone()), nn.Linear(DIM, 1)
    function.load_state_dict(
        {"weight": clients.weight[user : user + 1].clone(), "bias": clients.bias[user : user + 1]}
    )
    steps = [
        torch.optim.SGD(function.parameters(), lr=RATES.score),
        torch.optim.SGD([rows], lr=RATES.item),
    ]
    for part, wanted in zip(items.split(RATES.batch), labels.split(RATES.batch), strict=True):
        for step in steps if len(part) else ():
            step.zero_grad()
            predicted = torch.sigmoid(function(rows[part]).squeeze(1))
            nn.functional.binary_cross_entropy(predicted, wanted).backward()
            step.step()
    return rows.detach(), function.requires_grad_(False)


@pytest.mark.parametrize("leak", [False, True])
def test_negatives_are_all_that_is_not_avoided(toy_data, leak) -> None:
    unseen, generator = Unseen(toy_data, leak=leak), np.random.default_rng(0)
    drawn = {user: set() for user in range(toy_data.num_users)}
    users, items = unseen.draw(np.repeat(np.arange(toy_data.num_users), 600), generator)
    for user, item in zip(users.tolist(), items.tolist(), strict=True):
        drawn[user].add(item)
    everything = set(range(1, toy_data.num_items + 1))
    for user in range(toy_data.num_users):
        avoided = toy_data.history(user) if leak else toy_data.train_items(user)
        assert drawn[user] == everything - set(avoided.tolist())
    assert (set(np.flatnonzero(unseen.count == 0)) == {0, 1}) is leak  # they had all items


def test_negatives_are_uniform(toy_data) -> None:
    unseen = Unseen(toy_data, leak=False)
    _, items = unseen.draw(np.full(40_000, 30), np.random.default_rng(0))
    counts = np.bincount(items)[np.unique(items)]
    expected = 40_000 / unseen.count[30]
    assert abs(counts - expected).max() < 5 * expected**0.5


def test_a_round_has_every_training_item_and_four_others_for_each(toy_data) -> None:
    examples = ExampleSource(toy_data, leak=False).round(np.random.default_rng(0))
    parts = examples.items.split(examples.counts.tolist())
    labels = examples.labels.split(examples.counts.tolist())
    for user, (items, label) in enumerate(zip(parts, labels, strict=True)):
        training = sorted(toy_data.train_items(user).tolist())
        assert sorted(items[label == 1].tolist()) == training
        assert (label == 0).sum() == 4 * len(training)
    assert len({tuple(label.tolist()) for label in labels if len(label) == 50}) > 1  # shuffled


def test_what_is_held_out_has_no_part_in_training_unless_it_leaks(toy_data) -> None:
    def scores(data, leak: bool):
        return pfedrec.train_pfedrec(data, seed=3, leak=leak, rounds=1).scores

    other = held_out_swapped(toy_data)
    assert torch.equal(scores(toy_data, False), scores(other, False))
    assert not torch.equal(scores(toy_data, True), scores(other, True))


def test_the_best_round_and_rate_by_validation_are_what_ranks(toy_data) -> None:
    trained = pfedrec.train_pfedrec(toy_data, seed=0, leak=False, rounds=4, lr_etas=[0.01, 1.0])
    ranks = rank_in_blocks(trained, toy_data, None, "validation", ["full"], seed=0)
    again = metric_values(ranks.rank["full"], "ndcg@10").mean()
    assert again == pytest.approx(max(trained.validation)) and len(trained.validation) == 4
    alone = [
        pfedrec.train_pfedrec(toy_data, seed=0, leak=False, rounds=4, lr_etas=[rate]).quality
        for rate in (0.01, 1.0)
    ]
    assert trained.quality == max(alone)
    assert trained.chosen["lr_eta"] == [0.01, 1.0][alone.index(max(alone))]


def test_new_items_are_refused(toy_data) -> None:
    class Cold(Changed):
        warm_items = toy_data.num_items - 3

    with pytest.raises(DataError, match=rf"3 of {toy_data.num_items} items are new: PFedRec"):
        pfedrec.train_pfedrec(Cold(toy_data, toy_data.items), seed=0, leak=False, rounds=1)


def test_the_command_prints_both_variants_and_writes_them(
    toy_data, tmp_path, monkeypatch, capsys
) -> None:
    path = tmp_path / "out.json"
    monkeypatch.setattr(
        sys, "argv", ["pfedrec.py", "--quick", "--data", str(toy_data.path), "--json", str(path)]
    )
    pfedrec.main()
    printed = capsys.readouterr().out
    assert "| pfedrec |" in printed and "| pfedrec with the leak |" in printed
    (run,) = json.loads(path.read_text())["runs"]
    assert run["pfedrec"]["test"]["full"]["users"] == np.sum(toy_data.test_position >= 0)
    assert len(run["pfedrec"]["by_round"]) == 3
