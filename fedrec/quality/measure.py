"""Every measurement of a prepared folder's features, as one object and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.folder import FEATURES
from fedrec.data.prepared import PreparedData
from fedrec.errors import DataError
from fedrec.evaluation.segments import training_counts
from fedrec.quality import duplicates, geometry, intervals, overlap, rows, sampling, signal
from fedrec.quality.geometry import Geometry, measure_geometry
from fedrec.quality.overlap import Overlap, measure_overlap
from fedrec.quality.rows import Directions, present_items
from fedrec.quality.sampling import draw_sample
from fedrec.quality.signal import Lift, measure_lift

USERS = 10_000
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, kw_only=True, slots=True)
class Modality:
    """One feature file. random, matched: the lift over any unseen items, and over those of
    neighbouring popularity. popularity: mean training interactions of the held-out items, of the
    random and of the matched ones, as exp(mean log(count + 1)) - 1; None without users."""

    encoder: str | None
    sha256: str
    geometry: Geometry
    random: Lift
    matched: Lift
    popularity: dict[str, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """A prepared folder's features: each modality by name, each pair of them."""

    name: str
    catalogue: str
    seed: int
    users: int
    validation_users: int
    items: int
    modalities: dict[str, Modality]
    overlaps: list[Overlap]


def measure_quality(data: PreparedData, *, seed: int = 0) -> Quality:
    """Measure all features of a prepared folder.

    Raises DataError where there are no features, no validation targets, or damaged files.
    """
    if not data.features:
        raise DataError(
            f"{data.path / FEATURES}: no features to measure; `fedrec extract` makes them, "
            "`fedrec prepare --features` joins them"
        )
    require_targets(data)
    counts = training_counts(data)
    directions = {name: Directions(table, seed=seed) for name, table in data.features.items()}
    return Quality(
        name=data.name,
        catalogue=data.catalogue_fingerprint,
        seed=seed,
        users=data.num_users,
        validation_users=int((data.validation_position >= 0).sum()),
        items=data.num_items,
        modalities={
            name: _measure(data, name, directions[name], counts, seed) for name in directions
        },
        overlaps=[
            _compare(data, pair, (directions[pair[0]], directions[pair[1]]), counts, seed)
            for pair in combinations(directions, 2)
        ],
    )


def require_targets(data: PreparedData) -> None:
    """Raise DataError where no user has a validation item to find."""
    if not (data.validation_position >= 0).any():
        raise DataError(
            f"{data.path}: none of {data.num_users} users has a validation item, so there is "
            "nothing to find; users with three or more interactions have one"
        )


def as_json(quality: Quality) -> dict[str, Any]:
    """All numbers, with the settings they were measured with."""
    plain = asdict(quality)
    for name, modality in quality.modalities.items():
        plain["modalities"][name]["random"] = _lift_json(modality.random)
        plain["modalities"][name]["matched"] = _lift_json(modality.matched)
    return {**plain, "settings": _settings()}


def _measure(
    data: PreparedData, name: str, rows: Directions, counts: NDArray[np.int64], seed: int
) -> Modality:
    table = data.features[name]
    items = present_items(table)
    sample = draw_sample(data, items, counts, limit=USERS, seed=seed)
    drawn = {"held_out": sample.targets, "random": sample.random, "matched": sample.matched}
    return Modality(
        encoder=table.manifest.get("encoder"),
        sha256=table.manifest["sha256"],
        geometry=measure_geometry(table, counts, seed=seed),
        random=measure_lift(rows, sample, sample.random, items, seed=seed),
        matched=measure_lift(rows, sample, sample.matched, items, seed=seed),
        popularity={name: _popularity(counts, asked) for name, asked in drawn.items()},
    )


def _compare(
    data: PreparedData,
    names: tuple[str, str],
    rows: tuple[Directions, Directions],
    counts: NDArray[np.int64],
    seed: int,
) -> Overlap:
    first, second = (present_items(data.features[name]) for name in names)
    items = np.intersect1d(first, second, assume_unique=True)
    return measure_overlap(names, rows, items, data, counts, limit=USERS, seed=seed)


def _popularity(counts: NDArray[np.int64], items: NDArray[np.int64]) -> float | None:
    known = items[items > 0]
    return float(np.expm1(np.log1p(counts[known]).mean())) if len(known) else None


def _lift_json(lift: Lift) -> dict[str, Any]:
    quantiles = {
        "held_out": _quantiles(lift.scores[:, 0]),
        "unseen": _quantiles(lift.scores[:, 1:]),
    }
    standardised = None if lift.standardised is None else asdict(lift.standardised)
    derived = {"standardised": standardised, "found": lift.found, "scores": quantiles}
    return {**asdict(lift), **derived}


def _quantiles(scores: NDArray[np.float32]) -> dict[str, float] | None:
    known = scores[~np.isnan(scores)]
    if not len(known):
        return None
    return {str(at): float(np.quantile(known, at)) for at in _QUANTILES}


def _settings() -> dict[str, Any]:
    return {
        "users_at_most": USERS,
        "history": sampling.HISTORY,
        "unseen_items_per_user": sampling.NEGATIVES,
        "popularity_factor": sampling.POPULARITY_FACTOR,
        "popularity_items_at_least": sampling.POPULARITY_ITEMS,
        "shuffles": signal.SHUFFLES,
        "shuffle_users_at_most": signal.SHUFFLE_USERS,
        "significance": signal.SIGNIFICANCE,
        "confidence": intervals.CONFIDENCE,
        "bootstrap_resamples": intervals.RESAMPLES,
        "mean_rows_at_most": rows.MEAN_ROWS,
        "covariance_rows_at_most": geometry.COVARIANCE_ROWS,
        "norm_tolerance": geometry.NORM_TOLERANCE,
        "collapsed_share": geometry.COLLAPSED_SHARE,
        "near_cosine": duplicates.NEAR_COSINE,
        "near_comparisons_at_most": duplicates.COMPARISONS,
        "neighbours": overlap.NEIGHBOURS,
        "neighbour_queries_at_most": overlap.NEIGHBOUR_QUERIES,
        "neighbour_items_at_most": overlap.NEIGHBOUR_ITEMS,
        "cka_rows_at_most": overlap.CKA_ROWS,
    }
