"""A step of the touched rows equals the dense step there, and leaves the rest alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Message, MetricRecord, RecordDict

from fedrec import wire
from fedrec.config import from_flat
from fedrec.stages import STAGES
from fedrec.transport import CODECS, encode_parts
from server.attendance import Attendance
from server.federation import Federation, NodeInfo
from server.optimizers import OPTIMIZERS, build_strategy, moments, restore_moments
from server.strategy import StageStrategy
from server.transport import to_record
from tests.loopback import answered

pytestmark = pytest.mark.usefixtures("flower_identity")

TABLE, OTHER = "item_embedding.weight", "backbone.scale"
ITEMS, DIM = 12, 3
ROWS = np.array([2, 3, 9], dtype=np.int32)
OTHERS = np.setdiff1d(np.arange(ITEMS), ROWS)


def start() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    table = generator.normal(size=(ITEMS, DIM)).astype(np.float32)
    return {TABLE: table, OTHER: np.ones(2, dtype=np.float32)}


def make(optimizer: str, *, sparse: bool) -> StageStrategy:
    config = from_flat(
        {
            "federation.optimizer": optimizer,
            "federation.users_per_round": 0,
            "federation.sparse_rows": sparse,
            "stages.backbone.warmup_rounds": 0,
            "stages.backbone.learning_rate": 0.1,
        }
    )
    strategy = build_strategy(config.federation)
    strategy.prepare(
        config=config,
        stage=STAGES["backbone"],
        attendance=Attendance(Federation((NodeInfo(1, 0, 1, ITEMS - 1, "c", ()),))),
        arrays=start(),
        frozen={"gate": np.zeros(1, dtype=np.float32)},
        on_round=lambda strategy, report: None,
    )
    return strategy


def step(strategy: StageStrategy, number: int, rows: np.ndarray, seed: int) -> None:
    """A round in which `rows` got an update."""
    generator = np.random.default_rng(seed)
    touched = generator.normal(size=(len(rows), DIM)).astype(np.float32)
    other = generator.normal(size=2).astype(np.float32)
    if strategy.by_rows:
        parts = {"item_embedding": {TABLE: touched}, "backbone": {OTHER: other}}
        arrays: dict[str, Any] = {**encode_parts(parts, CODECS["float32"]), wire.ROWS: rows}
    else:
        table = np.zeros((ITEMS, DIM), dtype=np.float32)
        table[rows] = touched
        arrays = {TABLE: table, OTHER: other}
    metrics = {wire.WEIGHT: 1.0, wire.LOSS: 1.0, wire.USERS: 1, wire.SECONDS: 0.0}
    (message,) = strategy.configure_train(number, None, None, None)  # type: ignore[arg-type]
    content = RecordDict(
        {
            wire.ARRAYS: to_record(arrays),
            wire.METRICS: MetricRecord(metrics),
            wire.CONFIG: answered(message),
        }
    )
    strategy.aggregate_train(number, [Message(content, reply_to=message)])
    assert strategy.report.refused == 0


def remembered(optimizer: str) -> dict[str, np.ndarray]:
    """Moments as after some rounds, in numbers that float32 holds."""
    generator = np.random.default_rng(7)
    shapes = {n: value.shape for n, value in start().items()}
    if optimizer == "fedavgm":
        keys = [(f"momentum_vector/{i:06d}", shapes[n]) for i, n in enumerate(shapes)]
    elif optimizer == "fedavg":
        keys = []
    else:
        keys = [(f"{kind}/{n}", shape) for kind in ("m_t", "v_t") for n, shape in shapes.items()]
    drawn = {key: generator.uniform(0.1, 1.0, size=shape) for key, shape in keys}
    return {key: value.astype(np.float32).astype(np.float64) for key, value in drawn.items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_touched_rows_move_as_in_the_dense_step(optimizer: str) -> None:
    """Given the same moments, bit by bit; and what is remembered of them, to float32."""
    dense, lazy = make(optimizer, sparse=False), make(optimizer, sparse=True)
    for strategy in (dense, lazy):
        restore_moments(strategy, remembered(optimizer))
        step(strategy, 4, ROWS, seed=1)

    np.testing.assert_array_equal(lazy.arrays[TABLE][ROWS], dense.arrays[TABLE][ROWS])
    np.testing.assert_array_equal(lazy.arrays[OTHER], dense.arrays[OTHER])
    for name, whole in moments(dense).items():
        mine = moments(lazy)[name]
        if mine.shape == (ITEMS, DIM):
            np.testing.assert_allclose(mine[ROWS], whole[ROWS], rtol=1e-7)
        else:
            np.testing.assert_array_equal(mine, whole)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_untouched_rows_and_what_is_remembered_of_them_stay(optimizer: str) -> None:
    strategy, before = make(optimizer, sparse=True), remembered(optimizer)
    restore_moments(strategy, remembered(optimizer))

    step(strategy, 4, ROWS, seed=1)

    np.testing.assert_array_equal(strategy.arrays[TABLE][OTHERS], start()[TABLE][OTHERS])
    for name, value in moments(strategy).items():
        if value.shape == (ITEMS, DIM):
            np.testing.assert_array_equal(value[OTHERS], before[name][OTHERS])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_from_the_first_round_on_while_the_same_rows_are_touched(optimizer: str) -> None:
    """Where no row is left out for a round, lazy and dense are the same, but for the moments'
    last bits."""
    dense, lazy = make(optimizer, sparse=False), make(optimizer, sparse=True)
    for number in (1, 2, 3):
        for strategy in (dense, lazy):
            step(strategy, number, ROWS, seed=number)

    np.testing.assert_allclose(lazy.arrays[TABLE], dense.arrays[TABLE], rtol=1e-5)
    np.testing.assert_array_equal(lazy.arrays[OTHER], dense.arrays[OTHER])


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "fedavg"])
def test_the_tables_memory_is_float32(optimizer: str) -> None:
    strategy = make(optimizer, sparse=True)
    step(strategy, 1, ROWS, seed=1)

    kinds = {value.shape: value.dtype for value in moments(strategy).values()}
    assert kinds == {(ITEMS, DIM): np.float32, (2,): np.float64}


def test_a_round_that_touches_no_row_moves_the_rest() -> None:
    strategy = make("fedadam", sparse=True)

    step(strategy, 1, np.zeros(0, dtype=np.int32), seed=1)

    np.testing.assert_array_equal(strategy.arrays[TABLE], start()[TABLE])
    assert (strategy.arrays[OTHER] != start()[OTHER]).all()


def test_the_stages_own_arrays_and_the_best_are_not_written_to() -> None:
    """Rows change in place; the arrays that were handed over, and the best round's, must not."""
    handed = start()
    strategy = make("fedadam", sparse=True)
    strategy.prepare(
        config=strategy.config,
        stage=strategy.stage,
        attendance=strategy.attendance,
        arrays=handed,
        frozen={},
        on_round=lambda strategy, report: None,
    )
    step(strategy, 1, ROWS, seed=1)
    strategy.best.keep(strategy.downlink)
    best = {name: value.copy() for name, value in strategy.best.arrays.items()}
    np.testing.assert_array_equal(best[TABLE], strategy.arrays[TABLE])

    step(strategy, 2, np.array([3, 5], dtype=np.int32), seed=2)

    np.testing.assert_array_equal(handed[TABLE], start()[TABLE])
    for name, value in best.items():
        np.testing.assert_array_equal(strategy.best.arrays[name], value)
    assert not np.array_equal(strategy.arrays[TABLE], best[TABLE])
    strategy.best.keep(strategy.downlink)
    np.testing.assert_array_equal(strategy.best.arrays[TABLE], strategy.arrays[TABLE])
