"""What users weigh by row: which are refused, and what whole stages make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from fedrec import wire
from fedrec.config import Config
from fedrec.stages import STAGES
from server.refusal import Limits, Refused, Update, read_update
from tests.server.stages import checkpoint, metrics_lines

Configure = Callable[..., Config]
Federate = Callable[..., Any]

TABLE = "item_embedding.weight"
SENT = {TABLE: np.zeros((3, 2), dtype=np.float32), "gate": np.zeros(1, dtype=np.float32)}
METRIC = {wire.WEIGHT: 2.0, wire.LOSS: 1.5, wire.USERS: 3, wire.SECONDS: 0.1}


@pytest.fixture(autouse=True)
def _here(
    flower_identity: None, quiet_flower: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path / "cache"))


def read(weights: Any, *, weighs_rows: bool = True) -> Update:
    arrays = SENT if weights is None else {**SENT, wire.ROW_WEIGHTS: weights}
    record = ArrayRecord({name: Array(value) for name, value in arrays.items()})
    content = RecordDict({wire.ARRAYS: record, wire.METRICS: MetricRecord(METRIC)})
    reply = Message(content, dst_node_id=1, message_type="train")
    limits = Limits(max_norm=1e3, max_weight=100.0, users=3)
    return read_update(reply, SENT, limits, by_rows=False, weighs_rows=weighs_rows)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_weights_that_are_fit() -> None:
    found = read(floats(0, 2, 0.5))

    assert found.row_weights is not None
    assert found.row_weights.tolist() == [0, 2, 0.5]
    assert list(found.sums) == list(SENT)


def test_the_weight_of_all_may_be_rounded_another_way() -> None:
    assert read(floats(0, 2.00001, 0)).row_weights is not None


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (None, "row_weights is missing"),
        (floats(0, np.nan, 0), "has nan, expected 0 to 2"),
        (floats(0, np.inf, 0), "has inf"),
        (floats(0, -0.5, 0), r"has -0\.5"),
        (floats(0, 2.1, 0), r"has 2\.0999"),
        (floats(0, 1), "are 2, expected one for each of 3 rows"),
        (floats(0, 1, 1, 1), "are 4"),
        (np.zeros((3, 1), dtype=np.float32), "of one dimension"),
        (np.zeros(3), "float64"),
    ],
)
def test_weights_that_are_refused(weights: Any, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read(weights)


def test_weights_that_nobody_asked_for() -> None:
    assert read(None, weighs_rows=False).row_weights is None
    with pytest.raises(Refused, match="parameters differ"):
        read(floats(0, 1, 1), weighs_rows=False)


# Whole stages

WAYS = [("float32", True), ("float16", False), ("int8", False), ("int8", True)]


def trained(
    federate: Federate, config: Config, nodes: int = 3, stages: tuple[str, ...] = ("backbone",)
) -> tuple[np.ndarray, Any]:
    runner, grid = federate(config, nodes)
    for stage in stages:
        runner.run(STAGES[stage])
    assert not any(line["warnings"] for line in metrics_lines(config))
    return checkpoint(config, "backbone").arrays[TABLE] - runner.initial[TABLE], grid


def by_row(configure: Configure, out: Path, **more: Any) -> Config:
    settings = {"item_averaging": "row", "optimizer": "fedavg", "users_per_round": 7, **more}
    return configure(
        {"stages.backbone.rounds": 2, "training.local_steps": 2},
        run={"out": str(out)},
        federation=settings,
    )


@pytest.mark.parametrize(("transport", "sparse"), WAYS)
def test_rows_are_averaged_alike_whatever_way_they_travel(
    federate: Federate, small_config: Configure, tmp_path: Path, transport: str, sparse: bool
) -> None:
    plain, _ = trained(federate, by_row(small_config, tmp_path / "plain"))
    way = {"transport": transport, "sparse_rows": sparse}
    found, grid = trained(federate, by_row(small_config, tmp_path / "way", **way))

    if transport == "float32":
        np.testing.assert_array_equal(found, plain)
    else:
        assert np.linalg.norm(found - plain) < 0.1 * np.linalg.norm(plain)
    assert all(wire.ROW_WEIGHTS in record for record in answers(grid))


def answers(grid: Any) -> list[Any]:
    """The arrays that nodes sent up."""
    held = [reply.content.array_records.get(wire.ARRAYS) for reply in grid.received]
    return [record for record in held if record is not None]


def test_a_stage_that_leaves_the_items_alone_weighs_no_rows(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    config = by_row(small_config, tmp_path)
    _, grid = trained(federate, config, stages=("backbone", "alignment"))
    told = [wire.ROW_WEIGHTS in record for record in answers(grid)]
    assert told == sorted(told, reverse=True) and {*told} == {True, False}


def test_averaging_by_row_moves_rows_further_and_the_share_bounds_it(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    moved = []
    for name, settings in {
        "cohort": {"item_averaging": "cohort"},
        "all": {"item_averaging": "row", "row_share": 1.0},
        "half": {"item_averaging": "row", "row_share": 0.5},
        "tenth": {"item_averaging": "row", "row_share": 0.1},
    }.items():
        federation = {"optimizer": "fedavg", **settings}
        once = {"stages.backbone.rounds": 1, "run.out": str(tmp_path / name)}
        table, _ = trained(federate, small_config(once, federation=federation))
        moved.append(np.linalg.norm(table, axis=1))

    cohort, everybody, half, tenth = moved
    np.testing.assert_array_equal(everybody, cohort)
    assert (half >= cohort * 0.999).all() and (half <= 2.001 * cohort).all()
    assert (tenth >= half * 0.999).all() and (tenth <= 10.01 * cohort).all()
    assert tenth.sum() > 1.5 * half.sum() > 2 * cohort.sum()


def test_how_users_are_dealt_does_not_matter(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    found = [
        trained(federate, by_row(small_config, tmp_path / str(nodes)), nodes)[0]
        for nodes in (1, 14)
    ]
    np.testing.assert_allclose(found[1], found[0], atol=2e-5)
