"""Runs in which users keep parts of the model, and what the nodes hold of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fedrec.config import Config
from fedrec.stages import STAGES

Configure = Callable[..., Config]
Federate = Callable[..., Any]

PARTS = "embedding,gate,router"
KEEPS = {"personal.parts": PARTS, "personal.from_stage": "backbone", "personal.learning_rate": 0.5}


def run(federate: Federate, config: Config, nodes: int = 3) -> tuple[Any, Any]:
    runner, grid = federate(config, nodes)
    for stage in STAGES.values():
        runner.run(stage)
    return runner, grid


def parts_of(grid: Any) -> dict[int, dict[str, np.ndarray]]:
    """What every node holds now."""
    return {
        number: {name: array.numpy().copy() for name, array in record.items()}
        for number, context in grid.contexts.items()
        if (record := context.state.array_records.get("personal")) is not None
    }
