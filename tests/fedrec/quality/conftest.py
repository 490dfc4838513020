"""Prepared folders in which it is known what the features can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedrec.data import Columns, PreparedData, prepare, write_features

USERS, ITEMS, GROUPS, DIM = 300, 200, 10, 24
Features = Mapping[str, NDArray[np.float64]]


@pytest.fixture(scope="session")
def interactions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 users with 15 of 200 items, mostly of one of 10 groups (item modulo 10)."""
    generator = np.random.default_rng(3)
    lines = ["user,item,time"]
    for user in range(USERS):
        weights = np.where(np.arange(ITEMS) % GROUPS == user % GROUPS, 20.0, 1.0)
        weights *= np.linspace(3, 1, ITEMS)  # some items are more popular
        taken = generator.choice(ITEMS, size=15, replace=False, p=weights / weights.sum())
        lines += [f"{user},{item + 1},{time}" for time, item in enumerate(taken)]
    path = tmp_path_factory.mktemp("groups") / "groups.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def with_features(interactions: Path, tmp_path: Path) -> Callable[..., PreparedData]:
    """The prepared folder of `source` with these features.

    absent: items that have none, by modality.
    """

    def make(
        features: Features,
        absent: Mapping[str, range] | None = None,
        source: Path = interactions,
    ) -> PreparedData:
        columns = Columns(user="user", item="item", time="time")
        out = prepare(
            "csv",
            source=source,
            out=tmp_path / "out",
            min_interactions=1,
            columns=columns,
        )
        for name, values in features.items():
            present = np.ones(len(values), dtype=np.bool_)
            present[list((absent or {}).get(name, ()))] = False
            write_features(out, name, values, present, {})
        return PreparedData.load(out)

    return make


@pytest.fixture(scope="session")
def planted() -> NDArray[np.float64]:
    """Features that tell an item's group: [items + 1, dim]."""
    generator = np.random.default_rng(11)
    centres = generator.normal(size=(GROUPS, DIM))
    groups = np.arange(-1, ITEMS) % GROUPS  # item i is of group (i - 1) % 10
    return centres[groups] + 0.5 * generator.normal(size=(ITEMS + 1, DIM))


@pytest.fixture(scope="session")
def noise() -> NDArray[np.float64]:
    """Features that tell nothing: [items + 1, dim]."""
    return np.random.default_rng(12).normal(size=(ITEMS + 1, DIM))
