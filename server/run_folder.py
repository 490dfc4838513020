"""A run's folder: configuration, a line a round, checkpoints, state to resume from, results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedrec.checkpoints.tensors import fingerprint, read_tensors
from fedrec.config import Config, to_toml
from fedrec.data.atomic import write_atomically, write_json
from fedrec.data.json_files import read_json_value
from fedrec.data.sealed import read_sealed, write_sealed
from fedrec.errors import CheckpointError, FedrecError
from server.federation import Federation
from server.optimizers import moments, restore_moments
from server.progress import Progress, RoundReport
from server.state_file import write_tensors
from server.status_file import StatusWriter
from server.strategy import StageStrategy
from server.strikes import Strikes


class RunFolder:
    """Where a run writes; every file is written whole or not at all, or appended line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self._status = StatusWriter(path / "status.json")
        self._results = path / "results.json"
        self._state = self.checkpoints / "state.json"

    def begin(self, config: Config) -> None:
        """Make the folder and write the configuration.

        Raises FedrecError where the folder holds a run and this one does not resume it: a result is
        never overwritten unasked.
        """
        if not config.run.resume and (self.path / "config.toml").exists():
            raise FedrecError(
                f"{self.path} holds a run already: choose another run.out, or run.resume=true"
            )
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.metrics.touch()
        for folder in (self.path, self.checkpoints):
            for leftover in folder.glob(".*.part-*"):
                leftover.unlink()
        text = to_toml(config).encode()
        write_atomically(self.path / "config.toml", lambda stream: stream.write(text))

    def status(self) -> AbstractContextManager[None]:
        """Keep `status.json` true: running, then finished, or failed or stopped and why."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self._status.kept()

    def doing(self, what: str, stage: str | None = None, round_number: int | None = None) -> None:
        """Say in `status.json` what is done from now on."""
        self._status.doing(what, stage, round_number)

    def append_round(self, report: RoundReport) -> None:
        """Add a line to `metrics.jsonl`; it is on disk before a state that counts its round."""
        with self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(report)) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def forget_rounds_after(self, stage: str, finished: set[str], round_number: int) -> None:
        """Drop the lines of rounds that will be run again."""
        if not self.metrics.exists():
            return
        kept = []
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                of_stage, at = str(entry["stage"]), int(entry["round"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # the line that a kill cut short
            if of_stage in finished or (of_stage == stage and at <= round_number):
                kept.append(line + "\n")
        text = "".join(kept).encode()
        write_atomically(self.metrics, lambda stream: stream.write(text))

    def save_state(self, strategy: StageStrategy) -> None:
        """Everything that the stage needs to go on after this round.

        The arrays have a file of their own name; it counts once `state.json` names it.
        """
        arrays: dict[str, Any] = {f"moment/{k}": v for k, v in moments(strategy).items()}
        arrays |= {f"now/{name}": value for name, value in strategy.arrays.items()}
        arrays |= {f"best/{name}": value for name, value in strategy.best.arrays.items()}
        arrays |= {f"down/{k}": value for k, value in strategy.downlink.state().items()}
        name = f"state-{strategy.stage.name}-{strategy.progress.round}.safetensors"
        write_tensors(self.checkpoints / name, arrays)
        about = {
            "stage": strategy.stage.name,
            "frozen": strategy.frozen_fingerprint,
            "parent": strategy.parent,
            "tensors": name,
            "fingerprint": fingerprint(arrays),
            "versions": [strategy.downlink.version, strategy.best.version],
            "progress": asdict(strategy.progress),
            "strikes": strategy.exchange.strikes.saved(),
        }
        write_sealed(self._state, about)
        for former in self.checkpoints.glob("state-*.safetensors"):
            if former.name != name:
                former.unlink()

    def load_state(self, strategy: StageStrategy) -> bool:
        """Bring a stage to where its last state was saved. False where there is none of it.

        Raises FedrecError where the state is damaged, of other frozen groups or of another parent.
        """
        about = self._read_json(self._state, read_sealed)
        if about is None:
            return False
        if not isinstance(about.get("stage"), str):
            raise CheckpointError(f"{self._state} is damaged: it is of no stage")
        if about["stage"] != strategy.stage.name:
            return False
        if about.get("frozen") != strategy.frozen_fingerprint:
            raise CheckpointError(
                f"{self.checkpoints}: the saved state of stage {strategy.stage.name!r} was trained "
                "on other frozen groups than those of its parent checkpoint"
            )
        if about.get("parent") != strategy.parent:
            raise CheckpointError(
                f"{self.checkpoints}: the saved state of stage {strategy.stage.name!r} began from "
                f"checkpoint {str(about.get('parent'))[:12]}, and its parent is now "
                f"{str(strategy.parent)[:12]}"
            )
        try:
            self._restore(strategy, about)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{self._state} is damaged: {error!r}") from error
        return True

    def load_strikes(self, strikes: Strikes, federation: Federation) -> None:
        """Who was refused until the last state was saved, of whichever stage.

        Raises CheckpointError where the state is damaged.
        """
        about = self._read_json(self._state, read_sealed) or {}
        try:
            strikes.restore(about.get("strikes", []), federation)
        except TypeError as error:
            raise CheckpointError(f"{self._state} is damaged: {error!r}") from error

    def _restore(self, strategy: StageStrategy, about: Mapping[str, Any]) -> None:
        path = self.checkpoints / Path(about["tensors"]).name
        tensors: dict[str, Any] = read_tensors(path)
        if fingerprint(tensors) != about["fingerprint"]:
            raise CheckpointError(f"{path} does not hold what {self._state} was written for")

        def part(prefix: str) -> dict[str, Any]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        strategy.resume(Progress(**about["progress"]), part("now/"), part("best/"))
        newest, best = about["versions"]
        strategy.resume_downlink(newest, best, part("down/"))
        restore_moments(strategy, part("moment/"))

    def stage_results(self) -> dict[str, Any]:
        """Results of the stages that have ended, from `results.json`."""
        content = self._read_json(self._results, read_json_value) or {}
        return dict(content.get("stages", {}))

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write `results.json`."""
        write_json(self._results, results)

    def _read_json(self, path: Path, read: Callable[[Path], Any]) -> dict[str, Any] | None:
        if not os.path.lexists(path):
            return None
        try:
            content = read(path)
        except (OSError, ValueError) as error:
            raise FedrecError(f"{path} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise FedrecError(f"{path} is damaged: it holds a {type(content).__name__}")
        return content
