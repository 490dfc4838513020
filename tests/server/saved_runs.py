"""A run's folder, and a stage whose every number depends on the round."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedrec.config import Config, from_flat
from fedrec.stages import STAGES
from server.attendance import Attendance
from server.federation import Federation, NodeInfo
from server.optimizers import build_strategy, restore_moments
from server.run_folder import RunFolder
from server.strategy import StageStrategy

ARRAYS = {
    "item_embedding.weight": np.array([[0.1, -0.2], [0.3, 0.4]], dtype=np.float32),
    "backbone.scale": np.array([1.0], dtype=np.float32),
}
FROZEN = {"gate": np.array([0.1], dtype=np.float32)}
METRICS = {"full": {"ndcg@10": 0.25, "users": 4}}


def config(folder: RunFolder, **run: Any) -> Config:
    return from_flat({"run.out": str(folder.path), **{f"run.{k}": v for k, v in run.items()}})


def make(
    stage: str = "backbone",
    frozen: dict[str, Any] = FROZEN,
    optimizer: str = "fedadam",
    parent: str | None = None,
    **federation: Any,
) -> StageStrategy:
    named = {"optimizer": optimizer, **federation}
    settings = from_flat({f"federation.{key}": value for key, value in named.items()})
    strategy = build_strategy(settings.federation)
    strategy.prepare(
        config=settings,
        stage=STAGES[stage],
        attendance=Attendance(Federation((NodeInfo(1, 0, 1, 2, "c", ()),))),
        arrays=ARRAYS,
        frozen=frozen,
        on_round=lambda strategy, report: None,
        parent=parent,
    )
    return strategy


def at_round(number: int, **options: Any) -> StageStrategy:
    """A strategy whose every number depends on the round."""
    strategy = make(**options)
    generator = np.random.default_rng(number)
    strategy.arrays = {n: generator.normal(size=a.shape).astype("f4") for n, a in ARRAYS.items()}
    strategy.best.arrays = {n: value + 1 for n, value in strategy.arrays.items()}
    progress = strategy.progress
    progress.round, progress.best_round, progress.best_value = number, number - 1, 0.1 + 0.2
    progress.best_metrics, progress.stale_evaluations = METRICS, 1
    progress.failed_rounds, progress.seconds, progress.bytes_up = 2, 1.5, 10**12
    kinds = ("m_t", "v_t") if options.get("optimizer", "fedadam") == "fedadam" else ()
    saved = {f"{k}/{n}": generator.normal(size=a.shape) for k in kinds for n, a in ARRAYS.items()}
    restore_moments(strategy, saved)
    return strategy
