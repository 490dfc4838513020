from __future__ import annotations

import pytest

from fedrec.config import FederationConfig
from fedrec.training.weighting import WEIGHTINGS, user_weight


@pytest.mark.parametrize(
    ("weighting", "expected"), [("examples", 16.0), ("sqrt", 4.0), ("uniform", 1.0)]
)
def test_weights_by_hand(weighting, expected) -> None:
    assert user_weight(16, weighting=weighting, max_weight=1000) == expected


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_nobody_counts_more_than_the_bound(weighting) -> None:
    heaviest = user_weight(10**6, weighting=weighting, max_weight=0.5)
    assert heaviest == 0.5


def test_all_users_alike_is_not_the_default() -> None:
    """Worth .03 NDCG@10."""
    config = FederationConfig()
    few, many = (
        user_weight(examples, weighting=config.weighting, max_weight=config.max_weight)
        for examples in (5, 50)
    )
    assert many > few


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_weighting_can_be_configured(weighting) -> None:
    assert FederationConfig(weighting=weighting).weighting == weighting
