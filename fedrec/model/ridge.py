"""Ridge regression whose penalties choose themselves, with predictions as loud as the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (1e-6, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
WEIGHTS = (0.3, 0.1)
_WORTH = 0.01
_TINY = 1e-12


@dataclass(frozen=True)
class Ridge:
    """centre: [features], middle: [dim], coefficients: [features, dim]. error: the sum of squares
    that it misses of rows that it has not seen."""

    centre: Tensor
    middle: Tensor
    coefficients: Tensor
    error: float

    def predict(self, features: Tensor) -> Tensor:
        """features: [rows, features] -> [rows, dim]."""
        return self.middle + (features - self.centre) @ self.coefficients


def fit_ridge(features: Tensor, targets: Tensor, widths: Sequence[int]) -> Ridge:
    """The regression that errs least where each row is predicted from all others, times its
    `loudness`. Where none leaves a hundredth less of the squares than the mean does, the features
    tell nothing, and the mean is predicted.

    features: float64 [rows, features]. targets: float64 [rows, dim]. widths: how many features
    belong together. Of such blocks, those that tell less may have less weight. The penalty is one
    for all; the mean is not penalised.
    Source: Hoerl & Kennard 1970; leaving one out in closed form, Allen 1974.
    """
    weights = torch.ones(len(widths), dtype=features.dtype)
    repeats = torch.tensor(widths)
    best = _fit(features, targets, weights.repeat_interleave(repeats))
    for block in range(len(widths) if len(widths) > 1 else 0):
        for weight in WEIGHTS:
            tried = weights.clone()
            tried[block] = weight
            found = _fit(features, targets, tried.repeat_interleave(repeats))
            if found.error < best.error:
                best, weights = found, tried
    return best


def _fit(features: Tensor, targets: Tensor, weights: Tensor) -> Ridge:
    """The best penalty for features times their weights [features]."""
    centre, middle = features.mean(0), targets.mean(0)
    inputs, wanted = (features - centre) * weights, targets - middle
    squares, axes = torch.linalg.eigh(inputs.T @ inputs)
    turned = inputs @ axes  # [rows, features], its columns orthogonal
    products = turned.T @ wanted
    coefficients = torch.zeros_like(products)
    least = float(_left_out(wanted, torch.zeros_like(turned[:, 0])).square().sum())
    least *= 1 - _WORTH
    for penalty in PENALTIES:
        shrunk = 1 / (squares.clamp_min(0) + penalty)
        found = shrunk.unsqueeze(-1) * products
        missed = _left_out(wanted - turned @ found, turned.square() @ shrunk)
        error = float(missed.square().sum())
        if error < least:
            least, coefficients = error, loudness(wanted, wanted - missed) * found
    return Ridge(centre, middle, weights.unsqueeze(-1) * (axes @ coefficients), least)


def _left_out(missed: Tensor, leverage: Tensor) -> Tensor:
    """What a fit misses of a row [rows, dim] that it has not seen, given what it misses of one that
    it has. leverage: [rows], of a row in its own prediction, that of the mean apart."""
    own = leverage + 1 / len(missed)
    return missed / (1 - own).clamp_min(_TINY).unsqueeze(-1)


def loudness(wanted: Tensor, predicted: Tensor) -> float:
    """By what to multiply predictions so that they are heard like what they stand for.

    A prediction leaves out what features do not tell, so it is short, and short embeddings never
    win against long ones. To have the same length is too much, for predictions lie in the
    directions that most embeddings share, where most users look. So the mean square of the product
    with an embedding is made equal: of trained ones, a predicted one gets as high scores as they.
    Both [rows, dim], their means taken off.
    """
    look = wanted.T @ wanted
    heard = (look * (predicted.T @ predicted)).sum()
    return float((look.square().sum() / heard.clamp_min(_TINY)).sqrt())
