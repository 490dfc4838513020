"""Liars send what they say they do, within the bound, and a federation of some of them ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poisoners
import poisoning
from fedrec.config.loading import format_scalar
from fedrec.data import PreparedData
from fedrec.evaluation.segments import training_counts
from poisoners import ATTACKS, Knowledge
from tests.loopback import SMALL

TABLE = "item_embedding.weight"
MODEL = {TABLE: np.array([[0, 0], [3, 4], [3, 4], [-1, 0]], dtype=np.float32)}
SUMS = {
    TABLE: np.array([[0, 0], [2, 0], [0, 0], [0, -1]], dtype=np.float32),
    "backbone.w": np.array([2.0], dtype=np.float32),
}
KNOWN = Knowledge(target=3, popular=np.array([1, 2]), max_norm=1e3)
WEIGHT = 2.0


@pytest.mark.parametrize(
    ("attack", "factor"), [("sign_flip", -1.0), ("scaling", 10.0), ("opposite_scaling", -10.0)]
)
def test_an_update_is_turned_and_stretched(attack: str, factor: float) -> None:
    sent = ATTACKS[attack](KNOWN, MODEL, SUMS, WEIGHT)

    for name, value in SUMS.items():
        np.testing.assert_array_equal(sent[name], factor * value)
        assert sent[name].dtype == np.float32


def test_nothing_goes_beyond_what_is_not_refused() -> None:
    """A norm of 3, over a weight of 2; ten times as far is 15, of which 1 is allowed."""
    known = Knowledge(target=3, popular=np.array([1]), max_norm=1.0)

    sent = ATTACKS["opposite_scaling"](known, MODEL, SUMS, WEIGHT)

    assert poisoners.norm(sent) / WEIGHT == pytest.approx(0.99)
    assert sent["backbone.w"][0] < 0


def test_the_target_goes_where_popular_items_are() -> None:
    """Their mean is (3, 4), of length 5; the honest update's norm is 3."""
    sent = ATTACKS["promotion"](KNOWN, MODEL, SUMS, WEIGHT)

    np.testing.assert_allclose(sent[TABLE][3], [3 * 3 / 5, 3 * 4 / 5], rtol=1e-6)
    np.testing.assert_array_equal(sent[TABLE][:3], SUMS[TABLE][:3])
    np.testing.assert_array_equal(sent["backbone.w"], SUMS["backbone.w"])


def test_the_target_is_an_item_that_hardly_anybody_chose(shop: Path) -> None:
    data = PreparedData.load(shop)
    counts = training_counts(data)

    target = poisoning.unpopular(data, seed=0)

    assert counts[target] == counts[counts > 0].min()
    assert target == poisoning.unpopular(data, seed=0)


WORDS = tuple(
    f"{key}={format_scalar(value)}"
    for key, value in SMALL.items()
    if key.startswith(("model.", "memory.", "federation.", "training."))
)


def run(shop: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[dict[str, Any]]:
    """What `poisoning.py` measures on the shop."""
    found: list[dict[str, Any]] = []
    rate = "stages.backbone.learning_rate=0.05", "stages.backbone.warmup_rounds=0"
    line = ["poisoning.py", str(shop), *WORDS, *rate, "--nodes", "5", "--rounds", "3", *words]
    monkeypatch.setattr("sys.argv", line)
    monkeypatch.setattr(
        poisoning, "publish", lambda path, about, measured, text: found.extend(measured["found"])
    )
    poisoning.main()
    return found


def test_every_case_is_measured(
    shop: Path, monkeypatch: pytest.MonkeyPatch, flower_identity: None
) -> None:
    words = ("--shares", "0.2", "--attacks", "promotion", "--defences", "mean", "krum")

    found = run(shop, monkeypatch, *words)

    assert [(one["defence"], one["attack"], one["liars"]) for one in found] == [
        ("mean", "none", 0), ("mean", "promotion", 1), ("krum", "none", 0), ("krum", "promotion", 1)
    ]  # fmt: skip
    for one in found:
        assert 0 <= one["exposure"] <= 1
        assert 0 < one["ndcg@10"] < 1
        assert one["refused"] == 0
    assert len({one["ndcg@10"] for one in found}) > 1
