"""Plain sentences, and only where there is something to say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedrec.data import PreparedData
from fedrec.quality import lift_warnings, measure_quality, quality_warnings

WithFeatures = Callable[..., PreparedData]
Rows = NDArray[np.float64]


def test_noise_is_warned_of_and_signal_is_not(
    with_features: WithFeatures, planted: Rows, noise: Rows
) -> None:
    data = with_features({"image": noise, "text": planted})
    (sentence,) = lift_warnings(data, ["image", "text"])
    assert sentence.startswith("image: no lift over unseen items of the same popularity (AUC 0.")
    assert "300 users" in sentence
    assert [text for text in quality_warnings(measure_quality(data))] == [sentence]


def test_features_that_are_not_there_are_passed_over(
    with_features: WithFeatures, noise: Rows
) -> None:
    data = with_features({"image": noise})
    assert lift_warnings(data, ["text"]) == lift_warnings(data, []) == []


def test_features_that_nobody_meets_cannot_be_judged(
    with_features: WithFeatures, noise: Rows
) -> None:
    data = with_features({"image": noise}, {"image": range(1, len(noise))})
    (sentence,) = lift_warnings(data, ["image"])
    assert "nobody knows whether they help" in sentence


def test_collapsed_and_equal_rows_are_warned_of(with_features: WithFeatures, noise: Rows) -> None:
    values = noise.copy()
    values[:, 4:] = 0
    values[1:60] = values[1]
    sentences = quality_warnings(measure_quality(with_features({"image": values})))
    assert any("20 of 24 dimensions do not vary" in text for text in sentences)
    assert any("59 of 200 items share their features" in text for text in sentences)


def test_neither_torch_nor_matplotlib_is_loaded() -> None:
    code = (
        "import sys, fedrec.quality, fedrec.quality.command, fedrec.quality.picture;"
        "print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
