"""The whole: planted signal is found, noise is not, and the test items play no part."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedrec.data import Columns, PreparedData, prepare, write_features
from fedrec.errors import DataError
from fedrec.evaluation.segments import training_counts
from fedrec.quality import measure_quality
from fedrec.quality.measure import as_json

WithFeatures = Callable[..., PreparedData]
Rows = NDArray[np.float64]


def test_planted_signal_is_found_and_shuffling_destroys_it(
    with_features: WithFeatures, planted: Rows
) -> None:
    modality = measure_quality(with_features({"text": planted})).modalities["text"]
    for lift in (modality.random, modality.matched):
        assert lift.found
        assert lift.lift is not None and lift.lift.low > 0.1
        assert lift.auc is not None and lift.auc.low > 0.7
        assert lift.shuffled_lift is not None and 0 in lift.shuffled_lift
        assert lift.shuffled_auc is not None and 0.5 in lift.shuffled_auc
        assert lift.p_value == pytest.approx(1 / 21)


def test_noise_is_not_taken_for_signal(with_features: WithFeatures, noise: Rows) -> None:
    modality = measure_quality(with_features({"text": noise})).modalities["text"]
    assert not modality.matched.found
    assert modality.matched.auc is not None and abs(modality.matched.auc.mean - 0.5) < 0.05


def test_popularity_alone_is_a_lift_over_any_items_but_not_over_equally_popular_ones(
    with_features: WithFeatures, tmp_path: Path
) -> None:
    """Features that tell how popular an item is, and nothing else; item i is taken as 1 / i."""
    generator = np.random.default_rng(5)
    shares = 1 / np.arange(1, 801)
    lines = [
        f"{user},{item + 1},{time}"
        for user in range(300)
        for time, item in enumerate(generator.choice(800, 15, False, shares / shares.sum()))
    ]
    (tmp_path / "steep.csv").write_text("\n".join(["user,item,time", *lines]) + "\n")
    data = with_features({}, source=tmp_path / "steep.csv")
    values = generator.normal(size=(data.num_items + 1, 24))
    values[:, 0] = 6 * np.log1p(training_counts(data))
    write_features(data.path, "text", values, np.ones(len(values), dtype=np.bool_), {})
    modality = measure_quality(PreparedData.load(data.path)).modalities["text"]
    assert modality.random.lift is not None and modality.matched.lift is not None
    assert modality.random.found
    assert modality.matched.lift.mean < modality.random.lift.mean / 5


def test_permuting_the_test_items_changes_nothing(
    with_features: WithFeatures, planted: Rows, noise: Rows
) -> None:
    data = with_features({"image": noise, "text": planted})
    before = as_json(measure_quality(data))
    tests = data.offsets[:-1] + data.test_position
    items = data.items.copy()
    items[tests] = np.random.default_rng(0).permutation(items[tests])
    assert (items != data.items).sum() > 200
    data.items = items
    assert as_json(measure_quality(data)) == before


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_any_share_of_missing_items_can_be_measured(
    with_features: WithFeatures, planted: Rows, noise: Rows, share: float
) -> None:
    items = len(planted) - 1
    absent = {"text": range(1, 1 + round(share * items))}
    quality = measure_quality(with_features({"image": noise, "text": planted}, absent))
    modality = quality.modalities["text"]
    assert modality.geometry.coverage_items == 1 - share
    assert modality.matched.found == (share < 1)
    assert (modality.matched.users == 0) == (share == 1)
    assert quality.overlaps[0].items == round((1 - share) * items)
    assert json.loads(json.dumps(as_json(quality), allow_nan=False)) == as_json(quality)


def test_collapsed_features_have_no_lift(with_features: WithFeatures, planted: Rows) -> None:
    quality = measure_quality(with_features({"text": np.ones_like(planted)}))
    modality = quality.modalities["text"]
    assert modality.geometry.collapsed == modality.geometry.dim
    assert modality.geometry.duplicates.exact == modality.geometry.present
    assert modality.matched.auc is not None and modality.matched.auc.mean == 0.5
    assert modality.matched.p_value == 1 and not modality.matched.found


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(
    with_features: WithFeatures, planted: Rows
) -> None:
    data = with_features({"text": planted})
    first, again, other = (as_json(measure_quality(data, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first["modalities"]["text"]["matched"] != other["modalities"]["text"]["matched"]


def test_the_json_tells_samples_seeds_and_settings(
    with_features: WithFeatures, planted: Rows
) -> None:
    plain = as_json(measure_quality(with_features({"text": planted}), seed=7))
    text = plain["modalities"]["text"]
    assert plain["seed"] == 7 and plain["settings"]["history"] == 20
    assert text["matched"]["users"] == text["random"]["users"] == 300
    assert text["geometry"]["covariance_rows"] == plain["items"]
    assert math.isclose(text["matched"]["standardised"]["mean"],
                        text["matched"]["lift"]["mean"] / text["matched"]["spread"])  # fmt: skip


def test_a_folder_without_features_is_refused(with_features: WithFeatures) -> None:
    with pytest.raises(DataError, match="no features to measure"):
        measure_quality(with_features({}))


def test_a_folder_without_validation_items_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("short")
    (folder / "short.csv").write_text("user,item,time\n1,1,1\n1,2,2\n2,1,1\n")
    columns = Columns(user="user", item="item", time="time")
    out = prepare(
        "csv",
        source=folder / "short.csv",
        out=folder / "out",
        min_interactions=1,
        columns=columns,
    )
    write_features(out, "text", np.eye(3), np.ones(3, dtype=np.bool_), {})
    with pytest.raises(DataError, match="none of 2 users has a validation item"):
        measure_quality(PreparedData.load(out))
