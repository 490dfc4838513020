"""Flower's server optimisers, each running our stages; what they remember, for resuming."""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi
from numpy.typing import NDArray

from fedrec.config import FederationConfig
from fedrec.wire import WEIGHT
from server.strategy import StageStrategy

Moments = dict[str, NDArray[np.floating[Any]]]


class StageFedAdam(StageStrategy, FedAdam):
    """Reddi et al. 2021, FedAdam."""


class StageFedYogi(StageStrategy, FedYogi):
    """Reddi et al. 2021, FedYogi."""


class StageFedAdagrad(StageStrategy, FedAdagrad):
    """Reddi et al. 2021, FedAdagrad."""


class StageFedAvgM(StageStrategy, FedAvgM):
    """Hsu et al. 2019, server momentum."""

    def forget_origin(self) -> None:
        """Step from what the round says, and not from where the last step ended."""
        self.current_arrays = None


class StageFedAvg(StageStrategy):
    """McMahan et al. 2017."""


OPTIMIZERS: dict[str, type[StageStrategy]] = {
    "fedadam": StageFedAdam,
    "fedyogi": StageFedYogi,
    "fedadagrad": StageFedAdagrad,
    "fedavg": StageFedAvg,
    "fedavgm": StageFedAvgM,
}


def build_strategy(config: FederationConfig) -> StageStrategy:
    """The configured optimiser with a step of size one; the stage scales it.

    Its own sampling of nodes is switched off: the stage draws users.
    """
    settings: dict[str, Any] = {"weighted_by_key": WEIGHT}
    if config.optimizer in ("fedadam", "fedyogi", "fedadagrad"):
        settings |= {"eta": 1.0, "tau": config.tau}
    if config.optimizer in ("fedadam", "fedyogi"):
        settings |= {"beta_1": config.beta_1, "beta_2": config.beta_2}
    if config.optimizer == "fedavgm":
        settings |= {"server_momentum": config.beta_1}
    strategy = OPTIMIZERS[config.optimizer](**settings)
    strategy.fraction_train = 0.0  # given to the constructor, it warns that nothing will train
    return strategy


def moments(strategy: StageStrategy) -> Moments:
    """What the optimiser remembers, as named arrays; empty before the first round."""
    found: Moments = {}
    for kind in ("m_t", "v_t"):
        for name, value in (getattr(strategy, kind, None) or {}).items():
            found[f"{kind}/{name}"] = np.asarray(value)
    for place, value in enumerate(getattr(strategy, "momentum_vector", None) or []):
        found[f"momentum_vector/{place:06d}"] = np.asarray(value)
    return found


def restore_moments(strategy: StageStrategy, saved: Moments) -> None:
    """Give an optimiser back what `moments` returned."""
    for kind in ("m_t", "v_t"):
        held = {
            name.removeprefix(f"{kind}/"): value
            for name, value in saved.items()
            if name.startswith(f"{kind}/")
        }
        if held:
            setattr(strategy, kind, held)
    vector = [saved[name] for name in sorted(saved) if name.startswith("momentum_vector/")]
    if vector:
        strategy.momentum_vector = vector  # type: ignore[attr-defined]
