from __future__ import annotations

import pytest
import torch

from fedrec.model import ridge
from fedrec.model.ridge import PENALTIES, Ridge, loudness


def fit_ridge(features: torch.Tensor, targets: torch.Tensor, *widths: int) -> Ridge:
    return ridge.fit_ridge(features, targets, widths or (features.shape[1],))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.manual_seed(seed), dtype=torch.float64)


def test_what_is_linear_is_predicted_exactly() -> None:
    features, turn = drawn(60, 5), drawn(5, 3, seed=1)
    fit = fit_ridge(features, features @ turn + 7)
    unseen = drawn(10, 5, seed=2)
    torch.testing.assert_close(fit.predict(unseen), unseen @ turn + 7, rtol=1e-5, atol=1e-5)


def test_two_rows_by_hand() -> None:
    # Without the other row, the mean is that row: the mean misses (0, 2) by 2, and so does any fit.
    fit = fit_ridge(torch.tensor([[0.0], [1]]).double(), torch.tensor([[0.0], [2]]).double())
    assert fit.middle.tolist() == [1.0] and fit.centre.tolist() == [0.5]
    assert fit.predict(torch.tensor([[5.0]]).double()).tolist() == [[1.0]]


def test_where_features_tell_nothing_the_mean_is_predicted() -> None:
    fit = fit_ridge(drawn(400, 30), drawn(400, 4, seed=1))
    assert not fit.coefficients.any()
    assert torch.equal(fit.predict(drawn(3, 30, seed=2)), fit.middle.expand(3, -1))


def test_one_row_is_its_own_prediction() -> None:
    fit = fit_ridge(drawn(1, 3), torch.tensor([[1.0, 2.0]]).double())
    assert fit.predict(drawn(2, 3)).tolist() == [[1.0, 2.0]] * 2


def test_the_penalty_is_chosen_by_leaving_each_row_out() -> None:
    features, turn = torch.nn.functional.normalize(drawn(50, 20), dim=-1), drawn(20, 6, seed=1)
    targets = features @ turn + 0.5 * drawn(50, 6, seed=2)
    errors, predictions = {}, {}
    for penalty in PENALTIES:
        others = []
        for row in range(50):
            kept = torch.arange(50) != row
            inputs, wanted = features[kept], targets[kept]
            centred = inputs - inputs.mean(0)
            gram = centred.T @ centred + penalty * torch.eye(20, dtype=torch.float64)
            solved = torch.linalg.solve(gram, centred.T @ wanted)
            others.append(wanted.mean(0) + (features[row] - inputs.mean(0)) @ solved)
        predictions[penalty] = torch.stack(others)
        errors[penalty] = float((targets - predictions[penalty]).square().sum())
    best = min(errors, key=errors.__getitem__)
    assert PENALTIES[0] < best < PENALTIES[-1]
    centred, wanted = features - features.mean(0), targets - targets.mean(0)
    gram = centred.T @ centred + best * torch.eye(20, dtype=torch.float64)
    solved = torch.linalg.solve(gram, centred.T @ wanted)
    louder = loudness(wanted, predictions[best] - targets.mean(0))
    assert louder > 1
    torch.testing.assert_close(fit_ridge(features, targets).coefficients, louder * solved)


def test_loudness_by_hand() -> None:
    wanted = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]])
    # products with (3, 0) twice and (0, 1) twice: 4 * 81 + 4 * 1 of the truth
    assert loudness(wanted, wanted) == pytest.approx(1)
    assert loudness(wanted, wanted / 2) == pytest.approx(2)
    along = torch.tensor([[1.0, 0], [-1, 0], [0, 0], [0, 0]])  # 4 * 9
    assert loudness(wanted, along) == pytest.approx((328 / 36) ** 0.5)


def test_a_block_that_tells_less_has_less_weight() -> None:
    telling, noise = drawn(80, 12), drawn(80, 40, seed=1)
    targets = telling @ drawn(12, 5, seed=2) + 2 * drawn(80, 5, seed=3)
    both = torch.cat([noise, telling], dim=1)
    together, apart = fit_ridge(both, targets), fit_ridge(both, targets, 40, 12)
    assert apart.error < together.error
    assert apart.coefficients[:40].norm() < together.coefficients[:40].norm() / 2
    alone = min(ridge._fit(both, targets, weights).error for weights in weightings(40, 12))
    assert apart.error == alone


def weightings(first: int, second: int) -> list[torch.Tensor]:
    """All that the search may come to from equal weights, for two blocks."""
    pairs = [(1, 1), (0.3, 1), (0.1, 1), (0.1, 0.3), (0.1, 0.1), (1, 0.3), (1, 0.1)]
    return [torch.tensor([a] * first + [b] * second, dtype=torch.float64) for a, b in pairs]
