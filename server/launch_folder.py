"""The folder of a run: free, or fit to resume, and used by one run at a time."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fedrec.config import Config, load_config, to_flat
from fedrec.errors import ConfigError, FedrecError

CONFIG = "config.toml"
METRICS = "metrics.jsonl"
RESULTS = "results.json"
STATUS = "status.json"
LOG = "flower.log"
_RUN_FILES = (CONFIG, METRICS, RESULTS, STATUS, "checkpoints", "ranks")

MAY_DIFFER = frozenset(
    {
        "run.resume",
        "run.out",
        "run.device",
        "run.threads",
        "training.memory_mib",
        "federation.registration_timeout_s",
        "federation.round_timeout_s",
        "federation.evaluation_timeout_s",
        "federation.absence_timeout_s",
        "federation.failed_rounds",
    }
)
"""Keys that a resumed run may change: none of them changes what is learned."""


@contextmanager
def run_folder(config: Config, *, force: bool) -> Iterator[IO[bytes]]:
    """Hold the run's folder; yields its open Flower log.

    The lock lies on the log and is inherited by Flower's processes, so that the folder stays held
    for as long as any of them lives. Raises FedrecError for a folder that is in use, ConfigError
    for one that holds another run.
    """
    out = Path(config.run.out)
    _check(config, force=force)
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOG).open("ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FedrecError(f"{out}: another run is writing there") from None
        if force and not config.run.resume:
            _clear(out)
            log.truncate(0)
        yield log


def _check(config: Config, *, force: bool) -> None:
    out = Path(config.run.out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"run.out = {str(out)!r}: must be a folder")
    if config.run.resume:
        check_resumable(config)
    elif not force and any((out / name).exists() for name in _RUN_FILES):
        raise ConfigError(
            f"run.out = {str(out)!r}: holds a run already; continue it with --resume, "
            f"replace it with --force, or choose another out"
        )


def check_resumable(config: Config) -> None:
    """Raise ConfigError unless the run stored in `run.out` was started with this configuration."""
    stored_path = Path(config.run.out) / CONFIG
    if not stored_path.exists():
        raise ConfigError(f"nothing to resume: {stored_path} does not exist")
    stored, asked = to_flat(load_config(stored_path)), to_flat(config)
    differences = [
        f"{key} was {stored[key]!r} and is now {value!r}"
        for key, value in asked.items()
        if key not in MAY_DIFFER and stored[key] != value
    ]
    if differences:
        raise ConfigError(
            f"cannot resume {config.run.out} with another configuration: {'; '.join(differences)}"
        )


def _clear(out: Path) -> None:
    for name in _RUN_FILES:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
