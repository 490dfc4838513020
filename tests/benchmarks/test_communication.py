"""The study of local steps and servers: what is asked, kept, chosen and drawn."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import communication
from communication import Cell
from communication_picture import Curve, draw
from fedrec.config import Config, load_config, to_flat

SMALL = ["model.dim=8", "model.heads=1", "model.inner=8", "model.layers=1", "model.max_len=6"]
SMALL += communication.QUICK


def record(*ndcg: float, failed: str | None = None) -> dict[str, Any]:
    rounds = [5 * place for place in range(1, len(ndcg) + 1)]
    travelled = [1_000_000 * number for number in rounds]
    about = {"asked": [], "failed": failed, "seconds": 1.0}
    about |= {"round": rounds, "ndcg": list(ndcg)}
    return {**about, "bytes_up": travelled, "bytes_down": travelled}


def test_every_cell_is_a_configuration_and_no_two_are_one() -> None:
    cells = [*communication.grid()]
    flat = [to_flat(load_config(None, cell.settings(communication.FIXED))) for cell in cells]
    assert len({json.dumps(one) for one in flat}) == len(cells)
    asked = {(cell.server, cell.steps) for cell in cells if cell.variant == "plain"}
    assert len(asked) == 4 * len(communication.STEPS)
    assert {one["training.local_steps"] for one in flat} == {1, 2, 5, 10}


def test_the_rate_reaches_its_full_height_in_every_run() -> None:
    for rounds in (communication.QUICK_ROUNDS, 40):
        backbone = load_config(None, communication.settings(Path("data"), rounds)).stages.backbone
        assert backbone.warmup_rounds < backbone.rounds == rounds


def test_what_had_travelled_by_each_validation() -> None:
    lines = [
        {"round": 1, "bytes_up": 10, "bytes_down": 20, "seconds": 0.5, "validation": None},
        {
            "round": 2, "bytes_up": 1, "bytes_down": 2, "seconds": 0.25,
            "validation": {"full": {"ndcg@10": 0.5}},
        },
        {"round": 3, "bytes_up": 5, "bytes_down": 5, "seconds": 0.25, "validation": None},
    ]  # fmt: skip
    assert communication.measured(lines) == {
        "round": [2], "ndcg": [0.5], "bytes_up": [11], "bytes_down": [22], "seconds": 1.0,
    }  # fmt: skip


def test_the_rates_with_the_best_end_are_chosen_and_a_broken_run_is_not() -> None:
    cells = [Cell("fedavg", 2, "plain", (rate, 1.0)) for rate in (1.0, 2.0, 3.0)]
    records = [record(0.9, 0.1), record(0.1, 0.3), record(0.2, 0.8, failed="values not finite")]
    other = (Cell("fedavg", 1, "plain", (1.0, 1.0)), record(failed="broke at once"))

    chosen = communication.choose([*zip(cells, records, strict=True), other])

    assert [cell.steps for cell, _ in chosen] == [1, 2]
    assert chosen[1] == (cells[1], records[1])


def test_the_table_says_when_the_level_was_reached() -> None:
    runs = [
        (Cell("fedavg", 1, "plain", (1.0, 1.0)), record(0.1, 0.95, 1.0)),
        (Cell("fedavg", 2, "plain", (1.0, 1.0)), record(0.1, 0.2, 0.3)),
        (Cell("fedavg", 5, "plain", (1.0, 1.0)), record(failed="broke")),
    ]
    lines = communication.report(runs).splitlines()
    assert lines[0].endswith("0.9000")
    assert lines[-3].endswith("| 1.0000 | 1.0000 | 2.00 | 10 | 20 |")
    assert lines[-2].endswith("| 0.3000 | 0.3000 | 2.00 |  |  |")
    assert lines[-1].endswith("| 0.0000 | 0.0000 |  |  |  |")


def test_a_stopped_study_goes_on(
    tmp_path: Path, small_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished runs are not run again, a line that was cut short is."""
    monkeypatch.setattr(
        communication, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(1)
    )
    asked = argparse.Namespace(out=tmp_path, workers=1, data=Path(small_config().run.data))
    fixed = [*communication.settings(asked.data, communication.QUICK_ROUNDS), *SMALL]
    cells = [Cell("fedavg", 1, "plain", (1.0, 1.0)), Cell("fedadam", 2, "per row", (0.01, 1.0))]
    first = communication.study(cells, fixed, asked)
    path = tmp_path / "runs.jsonl"
    for found in first:
        assert found["failed"] is None and found["round"] == [2, 4]
        assert 0 < found["bytes_up"][0] < found["bytes_up"][1]

    lines = path.read_text().splitlines(keepends=True)
    marked = {**json.loads(lines[0]), "seconds": -1.0}
    path.write_text(json.dumps(marked) + "\n" + lines[1][:40])
    again = communication.study(cells, fixed, asked)

    assert sorted(found["seconds"] for found in again)[0] == -1.0
    assert [found["ndcg"] for found in again] == [found["ndcg"] for found in first]
    assert communication.study(cells, fixed, asked) == again


def test_other_data_are_another_run(tmp_path: Path) -> None:
    names = []
    for number in (1, 2):
        (tmp_path / "manifest.json").write_text(json.dumps({"files": {"a": number}}))
        names.append(communication.key(["a=1"], tmp_path))
    assert names[0] != names[1]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_picture_has_two_panels_a_server_and_the_same_bytes_again(
    tmp_path: Path, kind: str
) -> None:
    curves = [
        Curve(
            server=server, steps=steps, variant=variant, rounds=[1, 2], megabytes=[3.0, 6.0],
            ndcg=[0.1, 0.1 * steps],
        )
        for server in ("fedavg", "fedadam")
        for steps, variant in ((1, "plain"), (5, "plain"), (5, "per row"))
    ]  # fmt: skip
    assert [curve.label for curve in curves[:3]] == ["1 step", "5 steps", "5 steps, per row"]
    paths = [tmp_path / f"{name}.{kind}" for name in ("one", "two")]
    for path in paths:
        draw(curves, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if kind == "svg":
        assert paths[0].read_text().count('<g id="axes_') == 4
