"""What is to be extracted, and with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from features.recipe import feature_name, recorded_weights
from features.specs import EncoderSpec
from fedrec.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The features of one modality for a prepared folder.

    weights_sha256: of a local file, else None. name: that was asked for, None for the usual one.
    """

    folder: Path
    spec: EncoderSpec
    weights_sha256: str | None
    recipe: Mapping[str, Any]
    name: str | None = None

    def feature_name(self) -> str:
        """The name that the features get, as the folder is now. Raises ConfigError."""
        return feature_name(self.folder, self.spec, self.recipe, self.name)

    def require_weights(self, loaded: str) -> None:
        """Raises DataError where features of the same recipe were made with other weights.

        A hub may change what it gives under a name.
        """
        name = self.feature_name()
        recorded = recorded_weights(self.folder, name)
        if recorded is not None and recorded != loaded:
            raise DataError(
                f"{self.folder}: the features {name!r} were made with weights of sha256 "
                f"{recorded}, {self.spec.name} now has {loaded}; nothing was mixed. Choose another "
                f"--{self.spec.modality}-name, or name the weights by a local file"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """device: auto, cpu, cuda, cuda:N. batch_size: None for the encoder's own."""

    device: str
    batch_size: int | None
    threads: int
    console: Console

    def say(self, message: str) -> None:
        """Tell people something."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)
