"""The settings reach Flower's optimisers, and what these remember can be saved and given back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from fedrec import wire
from fedrec.config import Config, FederationConfig, from_flat
from fedrec.errors import ConfigError
from fedrec.stages import STAGES
from server.attendance import Attendance
from server.federation import Federation, NodeInfo
from server.optimizers import OPTIMIZERS, build_strategy, moments, restore_moments
from server.strategy import StageStrategy
from server.transport import to_record
from tests.loopback import answered

pytestmark = pytest.mark.usefixtures("flower_identity")

ARRAYS = {
    "backbone.scale": np.array([1.0], dtype=np.float32),
    "item_embedding.weight": np.array([[0.1, -0.2], [0.3, 0.4]], dtype=np.float32),
}
REMEMBERS = {
    "fedadam": {"m_t", "v_t"},
    "fedyogi": {"m_t", "v_t"},
    "fedadagrad": {"m_t", "v_t"},
    "fedavg": set(),
    "fedavgm": {"momentum_vector"},
}


def config_of(optimizer: str) -> Config:
    return from_flat(
        {
            "federation.optimizer": optimizer,
            "federation.users_per_round": 0,
            "stages.backbone.warmup_rounds": 0,
            "stages.backbone.learning_rate": 0.1,
        }
    )


def make(optimizer: str, arrays: dict[str, Any] = ARRAYS) -> StageStrategy:
    config = config_of(optimizer)
    strategy = build_strategy(config.federation)
    strategy.prepare(
        config=config,
        stage=STAGES["backbone"],
        attendance=Attendance(Federation((NodeInfo(1, 0, 1, 2, "c", ()),))),
        arrays=arrays,
        frozen={"gate": np.zeros(1, dtype=np.float32)},
        on_round=lambda strategy, report: None,
    )
    return strategy


def step(strategy: StageStrategy, number: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    update = {n: generator.normal(size=a.shape).astype(np.float32) for n, a in ARRAYS.items()}
    metrics = {wire.WEIGHT: 1.0, wire.LOSS: 1.0, wire.USERS: 1, wire.SECONDS: 0.0}
    (message,) = strategy.configure_train(
        number,
        to_record(strategy.arrays),
        ConfigRecord(),
        None,  # type: ignore[arg-type]
    )
    records = {
        wire.ARRAYS: to_record(update),
        wire.METRICS: MetricRecord(metrics),
        wire.CONFIG: answered(message),
    }
    strategy.aggregate_train(number, [Message(RecordDict(records), reply_to=message)])
    strategy.progress.round = number


def test_every_optimiser_that_the_configuration_allows_can_be_built() -> None:
    assert set(OPTIMIZERS) == set(REMEMBERS)
    for name in OPTIMIZERS:
        assert isinstance(build_strategy(FederationConfig(optimizer=name)), OPTIMIZERS[name])
    with pytest.raises(ConfigError, match="optimizer"):
        FederationConfig(optimizer="sgd")


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_settings_reach_the_adaptive_optimisers(name: str) -> None:
    config = FederationConfig(optimizer=name, beta_1=0.7, beta_2=0.8, tau=0.03)

    strategy = build_strategy(config)

    assert (strategy.beta_1, strategy.beta_2, strategy.tau, strategy.eta) == (0.7, 0.8, 0.03, 1.0)


def test_settings_reach_adagrad_and_momentum() -> None:
    assert build_strategy(FederationConfig(optimizer="fedadagrad", tau=0.03)).tau == 0.03
    momentum = build_strategy(FederationConfig(optimizer="fedavgm", beta_1=0.7))
    assert (momentum.server_momentum, momentum.server_learning_rate) == (0.7, 1.0)


def test_flower_samples_no_nodes_and_does_not_say_that_nothing_will_train(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in OPTIMIZERS:
        assert build_strategy(FederationConfig(optimizer=name)).fraction_train == 0.0
    assert "skipped" not in caplog.text


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimiser_remembers(name: str) -> None:
    strategy = make(name)
    assert moments(strategy) == {}

    step(strategy, 1, seed=1)

    held = moments(strategy)
    assert {key.partition("/")[0] for key in held} == REMEMBERS[name]
    assert all(value.dtype == np.float64 for value in held.values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_that_got_its_moments_back_goes_on_bit_by_bit(name: str) -> None:
    unbroken, first = make(name), make(name)
    for number in (1, 2, 3, 4):
        step(unbroken, number, seed=number)
    for number in (1, 2):
        step(first, number, seed=number)

    second = make(name)
    shuffled = dict(reversed(first.arrays.items()))  # safetensors does not keep the order
    second.resume(first.progress, shuffled, shuffled)
    restore_moments(second, dict(reversed(moments(first).items())))
    for number in (3, 4):
        step(second, number - 2, seed=number)

    for key in ARRAYS:
        np.testing.assert_array_equal(second.arrays[key], unbroken.arrays[key])


@pytest.mark.parametrize("name", [name for name, kinds in REMEMBERS.items() if kinds])
def test_moments_matter(name: str) -> None:
    with_memory, without = make(name), make(name)
    step(with_memory, 1, seed=1)
    step(with_memory, 2, seed=2)
    step(without, 1, seed=1)
    forgetful = make(name)
    forgetful.resume(without.progress, without.arrays, without.arrays)
    step(forgetful, 1, seed=2)

    assert any(not np.array_equal(with_memory.arrays[key], forgetful.arrays[key]) for key in ARRAYS)
