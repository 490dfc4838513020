"""How far a mean update moves the model: the step of Flower's optimiser, at the stage's rate."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from flwr.app import ConfigRecord
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from fedrec.checkpoints import Arrays
from fedrec.config import StageConfig
from fedrec.errors import FedrecError
from fedrec.model.feddmmr import group_of
from fedrec.training.schedule import learning_rate
from fedrec.training.touched import TABLE
from fedrec.transport import Rows
from server.averaging import Mean
from server.downlink import Downlink
from server.lazy import only_rows
from server.transport import as_reply, from_record, to_record


class StepStrategy(FedAvg):
    """The model of a stage, moved by the Flower optimiser that this is mixed in before.

    arrays: what trains. downlink: is told how the model moved.
    """

    stage_config: StageConfig
    arrays: Arrays
    downlink: Downlink

    def forget_origin(self) -> None:
        """Where Flower's optimiser goes on from what it stepped to before, let it not."""

    def follow(self, mean: Mean, number: int) -> None:
        """Let the optimiser step along the mean update of a round, and move the model."""
        self._move(self._step(number, mean), mean.rows, learning_rate(self.stage_config, number))

    def _step(self, number: int, mean: Mean) -> dict[str, NDArray[Any]]:
        """What the optimiser makes of the mean update.

        It steps from zeros, so that what it returns is its step alone: a model that an update is
        added to and taken from again does not keep the update's last bits.
        """
        origin = to_record({name: np.zeros(value.shape) for name, value in mean.arrays.items()})
        with self._optimiser_of(mean.rows):
            self.forget_origin()
            super().configure_train(number, origin, ConfigRecord(), None)  # type: ignore[arg-type]
            stepped, _ = super().aggregate_train(number, [as_reply(mean.arrays)])
        if stepped is None:
            raise FedrecError(f"round {number}: the optimiser returned nothing")
        return from_record(stepped)

    def _optimiser_of(self, rows: Rows | None) -> AbstractContextManager[None]:
        if rows is None:
            return nullcontext()
        return only_rows(self, list(self.arrays), rows, len(self.arrays[TABLE]))

    def _move(self, step: Mapping[str, NDArray[Any]], rows: Rows | None, rate: float) -> None:
        """Add the optimiser's step, at the learning rate of the round and the group."""
        multiples = {"backbone": self.stage_config.backbone_rate}
        moved: Arrays = {}
        for name, whole in self.arrays.items():
            before = whole if rows is None or name != TABLE else whole[rows]
            share = rate * multiples.get(group_of(name), 1.0)
            moved[name] = (before + share * step[name]).astype(np.float32)
        if rows is not None:
            self.arrays[TABLE][rows] = moved[TABLE]
            moved[TABLE] = self.arrays[TABLE]
        self.arrays = moved
        self.downlink.advance(moved, rows)
