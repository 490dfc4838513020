"""The environment and the programs of a Flower process that stays on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import fedrec
from fedrec.errors import FedrecError

_SWITCHES = {
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",  # else SuperLink runs `uv sync`
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",  # seconds; the default of 1 delays every task
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray listens on every network interface
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray hides the GPU from the clients
    "RAY_enable_worker_prestart": "0",  # spare workers that no client ever uses
    "RAY_prestart_worker_first_driver": "0",
    "MALLOC_ARENA_MAX": "2",  # else each of many threads keeps what it has freed: a slow growth
    "PYTHONUNBUFFERED": "1",
}
_DEFAULTS = {"FEDREC_LOG": "human"}  # else the apps configure no logging


def flower_environment(
    folder: Path, *, threads: int | None = None, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for Flower's programs.

    folder: private and temporary; Flower's home and Ray's files go there. threads: of the
    numerical libraries in every process, None = as they choose. base: None = this process's.
    """
    env = {**_DEFAULTS, **(os.environ if base is None else base)}
    env.update(_SWITCHES)
    env["FLWR_HOME"] = str(folder / "flwr")
    env["RAY_TMPDIR"] = str(folder)
    env["PATH"] = _joined(str(_programs_folder()), env.get("PATH"))
    env["PYTHONPATH"] = _joined(str(Path(fedrec.__file__).parent.parent), env.get("PYTHONPATH"))
    for key in ("NO_PROXY", "no_proxy"):
        env[key] = ",".join(filter(None, ["127.0.0.1,localhost", env.get(key)]))
    if threads is not None:
        env.update({key: str(threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")})
    return env


def flower_program(name: str) -> str:
    """The path of one of Flower's programs, from the environment this Python runs in."""
    program = _programs_folder() / name
    if not program.exists():
        raise FedrecError(
            f"{name} is not in {program.parent}: install fedrec in this Python environment, "
            f"with flwr[simulation]"
        )
    return str(program)


def _programs_folder() -> Path:
    return Path(sys.executable).parent  # not resolved: in a virtual environment it is a link


def _joined(first: str, rest: str | None) -> str:
    return os.pathsep.join(filter(None, [first, rest]))
