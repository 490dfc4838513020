"""What a node holds comes back whole and of one version, small or large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from client import table_file
from client.held import Held

ARRAYS = {
    "table": np.arange(12, dtype=np.float32).reshape(4, 3),
    "scale": np.ones(1, dtype=np.float32),
}
ROWS = np.array([0, 2], dtype=np.int32)
NEW = np.full((2, 3), -1.0, dtype=np.float32)


@pytest.fixture(params=["small", "large"])
def context(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Context:
    """A node whose tables are kept in its state, or in files."""
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path))
    if request.param == "large":
        monkeypatch.setattr(table_file, "LARGE_BYTES", 16)
    return Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})


def test_what_was_written_is_read(context: Context) -> None:
    Held(context, "model").write(ARRAYS, "a/3")

    held = Held(context, "model")
    assert held.version == "a/3"
    found = held.read("a/3")
    assert found is not None
    assert found.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(found[name], value)
    assert held.read("a/4") is None


def test_nothing_is_held_at_first(context: Context) -> None:
    assert Held(context, "model").version is None
    assert Held(context, "model").read("a/0") is None


def test_rows_and_the_rest_change_together(context: Context) -> None:
    held = Held(context, "model")
    held.write(ARRAYS, "a/0")
    start = held.read("a/0")
    assert start is not None

    held.change_rows({**start, "scale": np.zeros(1, "f4")}, "table", ROWS, NEW, "a/1")

    found = held.read("a/1")
    assert found is not None
    np.testing.assert_array_equal(found["table"][ROWS], NEW)
    np.testing.assert_array_equal(found["table"][[1, 3]], ARRAYS["table"][[1, 3]])
    np.testing.assert_array_equal(found["scale"], [0.0])
    assert held.read("a/0") is None


def test_sets_do_not_mix(context: Context) -> None:
    Held(context, "model").write(ARRAYS, "a/0")
    Held(context, "frozen").write({"table": ARRAYS["table"] + 1}, "f")

    model, frozen = Held(context, "model").read("a/0"), Held(context, "frozen").read("f")
    assert model is not None
    assert frozen is not None
    np.testing.assert_array_equal(model["table"], ARRAYS["table"])
    np.testing.assert_array_equal(frozen["table"], ARRAYS["table"] + 1)


def test_a_file_that_is_gone_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path))
    monkeypatch.setattr(table_file, "LARGE_BYTES", 16)
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
    held = Held(context, "model")
    held.write(ARRAYS, "a/0")
    (tmp_path / "nodes" / "1-2" / "model-table.npy").unlink()

    assert held.read("a/0") is None


def test_a_state_that_is_behind_its_file_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower keeps a node's state only where its answer came through; the file has moved on."""
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path))
    monkeypatch.setattr(table_file, "LARGE_BYTES", 16)
    first = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
    Held(first, "model").write(ARRAYS, "a/0")
    before = RecordDict(dict(first.state.items()))
    start = Held(first, "model").read("a/0")
    assert start is not None
    Held(first, "model").change_rows(start, "table", ROWS, NEW, "a/1")

    behind = Context(run_id=1, node_id=2, node_config={}, state=before, run_config={})

    assert Held(behind, "model").version == "a/0"
    assert Held(behind, "model").read("a/0") is None
