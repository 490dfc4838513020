"""A run's folder: configuration, a line a round, checkpoints, state to resume from, results."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedrec.checkpoints.tensors import fingerprint, read_tensors
from fedrec.config import Config, to_toml
from fedrec.data.atomic import write_atomically, write_json
from fedrec.errors import CheckpointError, FedrecError
from server.federation import Federation
from server.optimizers import moments, restore_moments
from server.progress import Progress, RoundReport
from server.state_file import write_tensors
from server.strategy import StageStrategy
from server.strikes import Strikes

LOG = logging.getLogger(__name__)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


class RunFolder:
    """Where a run writes; every file is written whole or not at all, or appended line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
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

    @contextmanager
    def status(self) -> Iterator[None]:
        """Keep `status.json` true: running, then finished, or failed and why.

        Raises FedrecError where the disk takes no more, which hurts nothing that is there.
        """
        try:
            self._write_status("running", None)
            yield
            self._write_status("finished", None)
        except BaseException as error:
            reason = self._reason(error)
            if not isinstance(error, FedrecError):
                LOG.exception("the run failed")
            with suppress(OSError):
                self._write_status("failed", reason)
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise FedrecError(reason) from error
            raise

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return (
                f"cannot write in {self.path}: {error.strerror}; what was saved before is whole, "
                "so make room and go on with --resume"
            )
        return str(error) or type(error).__name__

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
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line that a kill cut short
            known = entry["stage"] in finished
            if known or (entry["stage"] == stage and entry["round"] <= round_number):
                kept.append(line + "\n")
        text = "".join(kept).encode()
        write_atomically(self.metrics, lambda stream: stream.write(text))

    def save_state(self, strategy: StageStrategy) -> None:
        """Everything that the stage needs to go on after this round.

        The arrays have a file of their own name; it counts once `state.json` names it.
        """
        arrays: dict[str, Any] = {f"moment/{k}": v for k, v in moments(strategy).items()}
        arrays |= {f"now/{name}": value for name, value in strategy.arrays.items()}
        arrays |= {f"best/{name}": value for name, value in strategy.best_arrays.items()}
        arrays |= {f"down/{k}": value for k, value in strategy.downlink.state().items()}
        name = f"state-{strategy.stage.name}-{strategy.progress.round}.safetensors"
        write_tensors(self.checkpoints / name, arrays)
        about = {
            "stage": strategy.stage.name,
            "frozen": strategy.frozen_fingerprint,
            "parent": strategy.parent,
            "tensors": name,
            "fingerprint": fingerprint(arrays),
            "versions": [strategy.downlink.version, strategy.best_version],
            "progress": asdict(strategy.progress),
            "strikes": strategy.exchange.strikes.saved(),
        }
        write_json(self._state, about)
        for former in self.checkpoints.glob("state-*.safetensors"):
            if former.name != name:
                former.unlink()

    def load_state(self, strategy: StageStrategy) -> bool:
        """Bring a stage to where its last state was saved. False where there is none of it.

        Raises FedrecError where the state is damaged, of other frozen groups or of another parent.
        """
        about = self._read_json(self._state)
        if about is None or about.get("stage") != strategy.stage.name:
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
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{self._state} is damaged: {error!r}") from error
        return True

    def load_strikes(self, strikes: Strikes, federation: Federation) -> None:
        """Who was refused until the last state was saved, of whichever stage.

        Raises CheckpointError where the state is damaged.
        """
        about = self._read_json(self._state) or {}
        try:
            strikes.restore(about.get("strikes", []), federation)
        except TypeError as error:
            raise CheckpointError(f"{self._state} is damaged: {error!r}") from error

    def _restore(self, strategy: StageStrategy, about: Mapping[str, Any]) -> None:
        path = self.checkpoints / about["tensors"]
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
        content = self._read_json(self._results) or {}
        return dict(content.get("stages", {}))

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write `results.json`."""
        write_json(self._results, results)

    def _read_json(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise FedrecError(f"{path} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise FedrecError(f"{path} is damaged: it holds a {type(content).__name__}")
        return content

    def _write_status(self, state: str, error: str | None) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "status.json", {"state": state, "error": error, "pid": os.getpid()})
