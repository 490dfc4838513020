"""The server app from its run-config to its results, over nodes in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict

from fedrec.config import Config, load_config, to_flat
from fedrec.errors import ConfigError, FedrecError
from server import federation
from server.app import app

Configure = Callable[..., Config]


def run(config: Config, grid: Any, **run_config: Any) -> dict[str, Any]:
    """Call the app as Flower does; what it wrote, by file."""
    context = Context(
        run_id=1,
        node_id=0,
        node_config={},
        state=RecordDict(),
        run_config={**to_flat(config), **run_config},
    )
    app(grid, context)
    return written(config)


def written(config: Config) -> dict[str, Any]:
    out = Path(config.run.out)
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


def test_a_run_leaves_a_complete_folder(
    small_config: Configure, loopback: Callable[..., Any]
) -> None:
    config = small_config(run={"baselines": True}, federation={"nodes": 3})

    found = run(config, loopback(config, 3))

    assert found["status"]["state"] == "finished"
    results = found["results"]
    assert set(results) == {"stages", "left_out", "environment", "baselines", "comparisons"}
    assert list(results["stages"]) == ["backbone", "alignment", "routing"]
    assert results["environment"]["config"] == to_flat(config)
    assert set(results["environment"]["versions"]) >= {"fedrec", "flwr", "torch"}
    assert load_config(Path(config.run.out) / "config.toml") == config
    checkpoints = {path.name for path in (Path(config.run.out) / "checkpoints").iterdir()}
    names = {f"{stage}.{kind}" for stage in results["stages"] for kind in ("json", "safetensors")}
    assert checkpoints >= names


def test_a_finished_run_that_is_resumed_trains_nothing_and_ends_in_the_same(
    small_config: Configure, loopback: Callable[..., Any]
) -> None:
    config = small_config(federation={"nodes": 2})
    first = run(config, loopback(config, 2))["results"]
    grid = loopback(config, 2)

    second = run(config, grid, **{"run.resume": True})["results"]

    assert {message.metadata.message_type for message in grid.sent} == {"query"}
    assert second["stages"] == first["stages"]


def test_a_run_that_fails_says_why_in_its_status(
    small_config: Configure, loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation, "_POLL_S", 0.01)
    config = small_config(federation={"nodes": 3, "registration_timeout_s": 0.02})

    with pytest.raises(FedrecError, match="2 of 3 nodes"):
        run(config, loopback(config, 2))

    status = written(config)["status"]
    assert (status["state"], status["error"]) == (
        "failed",
        "2 of 3 nodes registered within 0.02 s",
    )


def test_a_run_config_with_an_unknown_key_is_refused(
    small_config: Configure, loopback: Callable[..., Any]
) -> None:
    config = small_config()

    with pytest.raises(ConfigError, match=r"stages\.backbone\.round"):
        run(config, loopback(config, 2), **{"stages.backbone.round": 3})


def test_a_run_ends_where_a_node_has_other_libraries(
    small_config: Configure, loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(federation={"nodes": 2})
    monkeypatch.setattr("client.app.versions_that_matter", lambda: {"torch": "0.1"})

    with pytest.raises(FedrecError, match="of partition 0 runs fedrec of an unknown version"):
        run(config, loopback(config, 2))

    assert written(config)["status"]["state"] == "failed"
