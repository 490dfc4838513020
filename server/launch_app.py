"""The Flower app that a launcher submits: a description without code.

Flower puts the app's folder first on the import path of every process that runs it. As the folder
holds nothing but its pyproject.toml, `server.app` and `client.app` come from the installed packages
beside the launcher: the same code on every side, and a server cannot send code to its clients.
"""

from __future__ import annotations

from pathlib import Path

from fedrec.config import Config, to_flat
from fedrec.config.loading import format_scalar

_PROJECT = """\
[project]
name = "fedrec-run"
version = "1.0.0"

[tool.flwr.app]
publisher = "fedrec"

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
"""


def write_app(folder: Path, config: Config) -> Path:
    """Write the app with this configuration as its run-config; returns the folder."""
    settings = [f"{key} = {format_scalar(value)}" for key, value in to_flat(config).items()]
    folder.mkdir(parents=True, exist_ok=True)
    text = _PROJECT + "\n".join(settings) + "\n"
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder
