"""Training without a federation: every position alike, the best epoch, going on after a stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import centralised
from centralised import Course, Recipe, train_centralised
from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.evaluation.metrics import metric_values
from study import before_test

RECIPE = Recipe(rates=(0.01,), epochs=4, warmup=1, patience=10, every=2, batch=8)


@pytest.fixture
def data(shop: Path) -> PreparedData:
    return before_test(PreparedData.load(shop))


def test_an_epoch_has_every_window_once_and_every_position_counts_the_same(
    toy_node: Callable[..., centralised.Node], toy_config: Callable[..., Config]
) -> None:
    node = toy_node(toy_config())
    examples = node._step(node.trainable[:], node.task("backbone"), 1, 0)
    parts = list(centralised.batches(examples, 16, np.random.default_rng(0)))
    assert max(len(part.user) for part in parts) == 16
    keys = torch.cat([part.keys for part in parts])
    assert sorted(keys.tolist()) == sorted(examples.keys.tolist())
    for part in parts:
        counts = part.share[part.targets > 0]
        assert float(part.share.sum()) == pytest.approx(1.0)
        assert torch.equal(counts, torch.full_like(counts, 1 / len(counts)))
        assert not part.share[part.targets == 0].any()


def test_what_is_returned_is_the_best_epoch(
    data: PreparedData, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = small_config()
    recipe = replace(RECIPE, rates=(1e-4, 0.03), epochs=6, every=1)
    found = train_centralised(data, config, recipe, tmp_path)
    ranks = found.rank(data, "validation")
    quality = float(metric_values(ranks.rank["full"], "ndcg@10").mean())
    assert quality == pytest.approx(found.validation)
    courses = [Course(data, config, replace(recipe, rates=(rate,)), tmp_path / f"rate-{rate:g}")
               for rate in recipe.rates]  # fmt: skip
    best = max(courses, key=lambda course: max(course.history))
    assert found.rate == best.recipe.rates[0]
    assert best.history[found.epoch - 1] == max(best.history) == found.validation


def test_it_learns(data: PreparedData, small_config: Callable[..., Config], tmp_path: Path) -> None:
    """People take the next item in a circle."""
    recipe = replace(RECIPE, rates=(0.02,), epochs=40, every=5)
    found = train_centralised(data, small_config(), recipe, tmp_path)
    chance = np.mean(1 / np.log2(np.arange(2, 12))) * 10 / 20
    assert found.validation > chance + 0.1


def test_a_course_that_was_stopped_goes_on_bit_by_bit(
    data: PreparedData, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = small_config()
    whole = Course(data, config, RECIPE, tmp_path / "whole")
    whole.finish()
    stopped = Course(data, config, RECIPE, tmp_path / "stopped")
    for epoch in (1, 2):
        stopped._train(epoch)
    stopped._validate()
    stopped._save()
    resumed = Course(data, config, RECIPE, tmp_path / "stopped")
    assert resumed.history == stopped.history
    resumed.finish()
    assert resumed.history == whole.history
    assert resumed.steps == whole.steps
    for name, parameter in whole.trained.items():
        assert torch.equal(parameter, resumed.trained[name]), name
    for name, value in whole.best.items():
        np.testing.assert_array_equal(value, resumed.best[name], err_msg=name)


def test_patience_ends_a_course(
    data: PreparedData, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    recipe = replace(RECIPE, patience=2, epochs=50, every=1)
    course = Course(data, small_config(), recipe, tmp_path)
    course._train, course._save = lambda epoch: None, lambda: None  # type: ignore[method-assign]
    course.finish()
    assert len(course.history) == 3, "the first is the best, and two come after it"
