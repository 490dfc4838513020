"""Quality against rounds and against bytes: local steps, server optimisers, and what holds drift.

The backbone stage of MovieLens-100K, in runs inside processes of their own, one thread each. Of the
learning rates of a setting the one counts whose validation is best at the end. A step trains a few
windows of a user, drawn anew, so that many steps stay affordable. The test split is not looked at:
a run asks one user of it, as it must, and nobody reads the answer. A finished run is a line in
OUT/runs.jsonl, and a study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from communication_picture import Curve, draw
from fedrec.config import load_config
from fedrec.errors import RoundsFailed
from fedrec.report import MetricsFile
from in_process import run_in_process
from measuring import arguments, conditions, publish, table
from workload import BACKBONE_ALONE, BY_USERS

DATA = Path("data/ml-100k")
STEPS = [1, 2, 5, 10]
DRIFT_STEPS = 5
# (of the server, of a local step). With one step only their product counts.
ONE_STEP = {
    "fedavg": [(5.0, 1.0), (10.0, 1.0), (20.0, 1.0)],
    "fedavgm": [(2.0, 1.0), (4.0, 1.0)],
    "fedadam": [(6e-3, 1.0), (1.2e-2, 1.0)],
    "fedyogi": [(6e-3, 1.0), (1.2e-2, 1.0)],
}
SEVERAL = {
    "fedavg": [(3.5, 1.0), (7.0, 1.0)],
    "fedavgm": [(0.5, 1.0), (1.0, 1.0)],
    "fedadam": [(6e-3, 0.3), (6e-3, 1.0), (1.2e-2, 1.0), (2.4e-2, 1.0)],
    "fedyogi": [(6e-3, 0.3), (6e-3, 1.0), (1.2e-2, 1.0), (2.4e-2, 1.0)],
}
PER_ROW = {1: [(3.0, 1.0), (5.0, 1.0)], DRIFT_STEPS: [(0.8, 1.0), (1.5, 1.0), (3.0, 1.0)]}
"""Of FedAvg, whose rows move further then. On Adam scale is lost on the server."""
VARIANTS = {
    "plain": [],
    "proximal": ["training.proximal=0.1"],
    "per row": ["federation.item_averaging=row"],
    "int8": ["federation.transport=int8"],
}
BESIDE = {  # what is run beside the plain grid
    (DRIFT_STEPS, "fedavg"): ["proximal", "per row", "int8"],
    (DRIFT_STEPS, "fedadam"): ["proximal", "per row"],
    (1, "fedavg"): ["per row", "int8"],
}
FIXED = [
    *BACKBONE_ALONE, "run.baselines=false",
    "run.threads=1", *BY_USERS, "federation.users_per_round=64",
    "evaluation.every=5", "evaluation.test_users=1",
    # The lists of rates are for these:
    "training.objective=sampled_softmax", "stages.backbone.backbone_rate=0.5",
    "federation.beta_2=0.99",
]  # fmt: skip
QUICK = ["federation.users_per_round=8", "evaluation.every=2"]
QUICK_ROUNDS = 4
HEADER = ["server", "steps", "variant", "rates", "best", "last", "MB a round", "rounds to", "MB to"]


@dataclass(frozen=True)
class Cell:
    """What is asked of one run. rates: of the server and of a local step."""

    server: str
    steps: int
    variant: str
    rates: tuple[float, float]

    def settings(self, fixed: Sequence[str]) -> list[str]:
        """The same as `key=value`."""
        return [
            *fixed,
            f"federation.optimizer={self.server}",
            f"training.local_steps={self.steps}",
            f"stages.backbone.learning_rate={self.rates[0]}",
            f"training.local_learning_rate={self.rates[1]}",
            *VARIANTS[self.variant],
        ]


Record = dict[str, Any]
"""asked, and by validation: round, ndcg, bytes_up and bytes_down so far; seconds; failed."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=DATA, help="a prepared folder")
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS, help="local steps")
    parser.add_argument("--rounds", type=int, default=40, help="of every run")
    parser.add_argument("--out", type=Path, default=Path("runs/communication"))
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--picture", type=Path, help="default: OUT/communication.svg")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    fixed = settings(asked.data, QUICK_ROUNDS if asked.quick else asked.rounds)
    fixed += QUICK if asked.quick else []
    cells = list(quick_grid() if asked.quick else grid(asked.steps))
    records = study(cells, fixed, asked)
    chosen = choose(zip(cells, records, strict=True))
    picture = asked.picture or asked.out / "communication.svg"
    draw([curve(cell, record) for cell, record in chosen], picture)
    result = {"settings": fixed, "chosen": [record for _, record in chosen], "runs": records}
    publish(asked.json, conditions(), result, report(chosen))
    print(f"picture: {picture}")


def settings(data: Path, rounds: int) -> list[str]:
    """What all runs share. The warm-up is a quarter of their rounds: by default it is longer than
    all of them, and with a tenth FedAvg's rates break at five local steps."""
    return [
        f"run.data={data}",
        f"stages.backbone.rounds={rounds}",
        f"stages.backbone.warmup_rounds={rounds // 4}",
        *FIXED,
    ]


def grid(steps_wanted: Iterable[int] = STEPS) -> Iterator[Cell]:
    """Every server with every number of steps; what holds drift, at several steps."""
    for steps in steps_wanted:
        for server in ONE_STEP:
            for variant in ("plain", *BESIDE.get((steps, server), ())):
                pairs = rates(server, steps, variant)
                yield from (Cell(server, steps, variant, pair) for pair in pairs)


def rates(server: str, steps: int, variant: str) -> list[tuple[float, float]]:
    """The short list of a setting."""
    if (server, variant) == ("fedavg", "per row"):
        return PER_ROW[steps]
    return (ONE_STEP if steps == 1 else SEVERAL)[server]


def quick_grid() -> Iterator[Cell]:
    """A few runs with one rate each: does it work at all."""
    for server in ("fedavg", "fedadam"):
        yield Cell(server, 1, "plain", ONE_STEP[server][0])
        yield from (Cell(server, 2, name, SEVERAL[server][0]) for name in ("plain", "per row"))


def study(cells: Sequence[Cell], fixed: Sequence[str], asked: argparse.Namespace) -> list[Record]:
    """The records of all cells, in their order; those that are missing are run and kept."""
    path = asked.out / "runs.jsonl"
    keys = [key(cell.settings(fixed), asked.data) for cell in cells]
    known = read(path)
    missing = [place for place, name in enumerate(keys) if name not in known]
    missing.sort(
        key=lambda place: -cells[place].steps
    )  # the longest first, so that all end together
    print(f"{len(cells) - len(missing)} of {len(cells)} runs are in {path}", flush=True)
    context = get_context("spawn")
    with ProcessPoolExecutor(asked.workers, mp_context=context) as pool, path.open("a") as file:
        running = {pool.submit(run, cells[place].settings(fixed)): place for place in missing}
        for done in as_completed(running):
            name, record = keys[running[done]], done.result()
            known[name] = record
            file.write(json.dumps({"key": name, **record}) + "\n")
            file.flush()
            print(summary(cells[running[done]], record), flush=True)
    return [known[name] for name in keys]


def key(settings: Sequence[str], data: Path) -> str:
    """What tells runs apart: the settings and the content of the data."""
    files = json.loads((data / "manifest.json").read_text())["files"]
    return hashlib.sha256(json.dumps([sorted(settings), files]).encode()).hexdigest()[:16]


def read(path: Path) -> dict[str, Record]:
    """The finished runs by key. A line that was cut short when the study was stopped is removed."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    records = [json.loads(line) for line in whole.splitlines()]
    return {record.pop("key"): record for record in records}


def run(settings: Sequence[str]) -> Record:
    """One run to its end, or to where its learning rate breaks it."""
    torch.set_num_threads(1)
    failed = None
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as folder:
        out = Path(folder) / "run"
        metrics = MetricsFile(out / "metrics.jsonl")
        try:
            run_in_process(load_config(None, settings), out)
        except RoundsFailed as error:
            failed = str(error)
        found = measured(metrics.new_records())
    return {"asked": list(settings), "failed": failed, **found}


def measured(lines: Sequence[Record]) -> Record:
    """By validation, what was reached and what had travelled until then."""
    found: Record = {"round": [], "ndcg": [], "bytes_up": [], "bytes_down": []}
    up = down = 0
    for line in lines:
        up, down = up + line["bytes_up"], down + line["bytes_down"]
        if line["validation"] is not None:
            found["round"].append(line["round"])
            found["ndcg"].append(line["validation"]["full"]["ndcg@10"])
            found["bytes_up"].append(up)
            found["bytes_down"].append(down)
    return {**found, "seconds": round(sum(line["seconds"] for line in lines), 1)}


def last(record: Record) -> float:
    """The validation at the end, by which a learning rate is chosen; 0 where a run broke."""
    return 0.0 if record["failed"] or not record["ndcg"] else float(record["ndcg"][-1])


def choose(runs: Iterable[tuple[Cell, Record]]) -> list[tuple[Cell, Record]]:
    """Of every server, number of steps and variant the run with the best rates."""
    best: dict[tuple[str, int, str], tuple[Cell, Record]] = {}
    for cell, record in runs:
        name = (cell.server, cell.steps, cell.variant)
        if name not in best or last(record) > last(best[name][1]):
            best[name] = (cell, record)
    return sorted(best.values(), key=lambda pair: (pair[0].server, pair[0].steps))


def curve(cell: Cell, record: Record) -> Curve:
    """The run as a line of the picture."""
    travelled = zip(record["bytes_up"], record["bytes_down"], strict=True)
    return Curve(
        server=cell.server,
        steps=cell.steps,
        variant=cell.variant,
        rounds=record["round"],
        megabytes=[(up + down) / 1e6 for up, down in travelled],
        ndcg=record["ndcg"],
    )


def report(chosen: Sequence[tuple[Cell, Record]]) -> str:
    """A line a setting, and when it reached nine tenths of the best that any reached."""
    level = 0.9 * max((max(record["ndcg"], default=0.0) for _, record in chosen), default=0.0)
    rows = []
    for cell, record in chosen:
        line = curve(cell, record)
        to = next((place for place, value in enumerate(line.ndcg) if value >= level), None)
        reached = ["", ""] if to is None else [line.rounds[to], f"{line.megabytes[to]:.0f}"]
        each = f"{line.megabytes[-1] / line.rounds[-1]:.2f}" if line.rounds else ""
        best = f"{max(line.ndcg, default=0.0):.4f}"
        about = [cell.server, cell.steps, cell.variant, f"{cell.rates[0]:g}, {cell.rates[1]:g}"]
        rows.append([*about, best, f"{last(record):.4f}", each, *reached])
    return f"level: validation full NDCG@10 {level:.4f}\n\n{table(HEADER, rows)}"


def summary(cell: Cell, record: Record) -> str:
    """A line as a run ends."""
    end = record["failed"] or f"{last(record):.4f}"
    about = f"{cell.server}, {cell.steps} steps, {cell.variant}, rates {cell.rates}"
    return f"{about}: {end} ({record['seconds']:.0f} s)"


if __name__ == "__main__":
    main()
