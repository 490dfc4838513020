"""A small prepared data set, and the parts of the library built over it at toy sizes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from fedrec.config import Config, load_config
from fedrec.data import Columns, PreparedData, prepare, write_features
from fedrec.model.build import build_model
from fedrec.model.feddmmr import FedDMMR
from fedrec.monitoring.logs import FORMAT, LEVEL
from fedrec.training.node import Node, load_modalities

torch.set_num_threads(1)  # nothing here needs more, and tests may run side by side
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

USERS, ITEMS = 130, 40
# Every number that a test could depend on, so that defaults may be tuned freely.
TOY = (
    "model.dim=8 model.transitions=0 model.layers=2 model.heads=2 model.inner=12 model.max_len=6 "
    "model.transition_gate_init=1 "
    "model.router=hierarchical model.time_scales=2 model.adapter=4 model.router_rank=2 "
    "model.collaborative=true model.gate_init=0.1 "
    "memory.short_term=3 memory.long_term=3 memory.novelty=0.2 "
    "training.objective=sampled_softmax training.local_steps=1 training.clip_norm=0 "
    "training.local_learning_rate=0.5 training.memory_mib=64 "
    "federation.draw=users federation.weighting=examples federation.max_weight=10"
).split()
TOY_STAGE = (
    "dropout=0.3 windows=0 positions=0 negatives=5 surprise=0.5 contrastive_temperature=0.2".split()
)
TOY_LOSSES = (
    "stages.alignment.contrastive_weight=0.3 stages.routing.contrastive_weight=0 "
    "stages.routing.balance_weight=0.2"
).split()
STAGES = ("backbone", "alignment", "routing")


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """130 users with 1 to 24 of 40 items; some items lack an image, some a text, one lacks both.

    There is a third modality, audio, of the odd items alone.
    """
    folder = tmp_path_factory.mktemp("toy")
    generator = np.random.default_rng(7)
    rows = [
        f"u{user:03d},i{item:02d},{time}"
        for user in range(USERS)
        for time, item in enumerate(
            generator.choice(ITEMS, size=ITEMS if user < 2 else 1 + user % 24, replace=False)
        )
    ]
    (folder / "toy.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    columns = Columns(user="user", item="item", time="time")
    out = prepare(
        "csv", source=folder / "toy.csv", out=folder / "out", min_interactions=1, columns=columns
    )
    for name, width, absent in (
        ("image", 12, [1, 4, 9]),
        ("text", 10, [2, 4]),
        ("audio", 6, range(0, ITEMS, 2)),
    ):
        present = np.ones(ITEMS + 1, dtype=np.bool_)
        present[list(absent)] = False
        write_features(out, name, generator.normal(size=(ITEMS + 1, width)), present, {})
    return PreparedData.load(out)


@pytest.fixture(scope="session")
def toy_config() -> Callable[..., Config]:
    """A toy configuration with `section.key=value` overrides."""
    stages = [f"stages.{stage}.{setting}" for stage in STAGES for setting in TOY_STAGE]
    return lambda *overrides: load_config(None, [*TOY, *stages, *TOY_LOSSES, *overrides])


@pytest.fixture(scope="session")
def toy_node(toy_data: PreparedData) -> Callable[..., Node]:
    """A node of `users` (default: all) over the toy data, or over `data`."""

    def make(config: Config, users: range | None = None, data: PreparedData = toy_data) -> Node:
        everybody = range(data.num_users)
        return Node(data, users or everybody, config, load_modalities(data, config))

    return make


@pytest.fixture(scope="session")
def toy_model(toy_data: PreparedData) -> Callable[..., FedDMMR]:
    """The model of a configuration; `shaken` moves every parameter off its initial value."""

    def make(config: Config, *, shaken: bool = True) -> FedDMMR:
        held = load_modalities(toy_data, config)
        widths = {name: int(modality.values.shape[1]) for name, modality in held.items()}
        model = build_model(config.model, num_items=ITEMS, feature_dims=widths, seed=3)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters() if shaken else ():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            model.item_embedding.weight[0] = 0
        return model

    return make


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets; the test is skipped where they are not there."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parents[1]


@pytest.fixture
def logging_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test configures is undone."""
    monkeypatch.delenv(FORMAT, raising=False)
    monkeypatch.delenv(LEVEL, raising=False)
    names = (None, "fedrec", "server", "client", "features", "flwr")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one, one.level, list(one.handlers)) for one in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
