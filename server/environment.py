"""On what a run was made: enough to judge its timings and to repeat it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

from fedrec.config import Config, to_flat


def describe_environment(config: Config) -> dict[str, Any]:
    """Machine, versions and settings."""
    packages = ("fedrec", "flwr", "torch", "numpy")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": _cores(),
        "versions": {name: version(name) for name in packages},
        "config": to_flat(config),
    }


def _cores() -> int | None:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor()
