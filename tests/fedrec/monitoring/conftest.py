"""A small run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from server.progress import RoundReport

ENDED = 1_800_000_000.0
"""When the last round of `run_folder` ended; 2027-01-15T08:00:00Z."""


def report(stage: str, number: int, **values: Any) -> dict[str, Any]:
    """A round of three nodes that took half a second."""
    common = {
        "loss": 5.0 - number,
        "users": 20,
        "asked": 3,
        "seconds": 0.5,
        "bytes_up": 100,
        "bytes_down": 200,
        "group_bytes_up": {"backbone": 90},
        "group_bytes_down": {"backbone": 180, "gate": 4},
        "update_norms": {"backbone": 0.25},
        "gate": 0.125,
        "transition_gate": 0.75,
        "remaining_s": 10.0,
        "ended_at": ENDED - 60.0,
    }
    return asdict(RoundReport(stage, number, 9, **{**common, **values}))


ROUNDS = [
    report("backbone", 1),
    report("backbone", 2, asked=6, validation={"full": {"ndcg@10": 0.25, "users": 38}}),
    report(
        "backbone",
        3,
        seconds=4.0,
        refused=1,
        refused_nodes=[12],
        unanswered=1,
        silent_nodes=[15],
        warnings=["node 12 refused: not finite", "1 of 3 nodes did not answer in time: [15]"],
    ),
    report("backbone", 4, asked=6, validation={"full": {"ndcg@10": 0.125, "users": 38}}),
    report("alignment", 1, loss=None, users=0, asked=3, refused=3, refused_nodes=[11, 12, 15]),
    report(
        "alignment",
        2,
        seconds=700.0,
        ended_at=ENDED,
        remaining_s=90.0,
        slowest_node_s=650.0,
        warnings=["slow"],
    ),
]


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """(lines of metrics.jsonl, status) -> a run's folder `out`."""

    def write(rounds: list[dict[str, Any]], status: dict[str, Any] | None = None) -> Path:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        (out / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rounds))
        if status is not None:
            (out / "status.json").write_text(json.dumps(status))
        return out

    return write
