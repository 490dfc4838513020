"""How well systems recommend: data sets x systems x seeds, by one protocol, with intervals.

Every run has a folder of its own, DATA/SYSTEM/seed-N under --out. A finished run is left as it is,
an unfinished one goes on where it stopped. `study` says how validation chooses and the test is
ranked once; `systems` lists the systems; `results_page` writes docs/results.md from the folder.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import study
from main_job import COLUMNS, spread
from measuring import arguments, conditions, publish, table
from study import Task
from study_results import (
    COMPARED,
    LOOKED_AT,
    METRIC,
    PROTOCOL,
    Measured,
    comparisons,
    load_study,
    share,
)
from systems import SYSTEMS

OUT = Path("runs/accuracy")
HEADER = ["system (test)", *COLUMNS, "validation full NDCG@10", "seeds"]
AGAINST = ["difference of", "to", *COMPARED]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="for our systems; "
                        "SYSTEM:KEY=VALUE for one of them")  # fmt: skip
    parser.add_argument("--data", nargs="+", type=prepared, default=[], metavar="NAME",
                        help="prepared folders, by path or by name in data/")  # fmt: skip
    unasked = [name for name, entry in SYSTEMS.items() if entry.by_default]
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=unasked)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each, seeds 0, 1, ...")
    parser.add_argument("--workers", type=int, default=cores(), help="runs beside each other")
    parser.add_argument("--out", type=Path, default=OUT, help="the study's folder")
    asked = parser.parse_args()
    asked.data = asked.data or [prepared("ml-latest-small")]
    if asked.quick:
        asked.seeds, asked.out = min(asked.seeds, 1), asked.out / "quick"
    failed = perform_all(tasks(asked), max(1, asked.workers))
    found = {data.name: load(asked.out, data.name) for data in asked.data}
    text = "\n\n".join(f"## {name}\n\n{report(models)}" for name, models in found.items())
    measured = {name: summary(models) for name, models in found.items()}
    publish(asked.json, conditions(), {"data": measured}, text)
    sys.exit(1 if failed else 0)


def prepared(name: str) -> Path:
    """A prepared folder by its path or its name in data/."""
    for folder in (Path(name), Path("data") / name):
        if (folder / "manifest.json").exists():
            return Path(os.path.abspath(folder))
    raise ArgumentTypeError(f"no prepared folder {name} or data/{name}; see `fedrec prepare`")


def cores() -> int:
    """Cores that this process may use."""
    return int(conditions()["cores"] or 1)


def tasks(asked: Namespace) -> list[Task]:
    """What is to be run, seed by seed, so that an early end leaves whole comparisons."""
    return [
        Task(
            data=data,
            system=system,
            seed=seed,
            folder=asked.out.resolve() / data.name / system / f"seed-{seed}",
            settings=tuple(asked.settings) if SYSTEMS[system].ours else (),
            quick=asked.quick,
        )
        for seed in range(asked.seeds)
        for data in asked.data
        for system in asked.systems
        if seed == 0 or SYSTEMS[system].seeded
    ]


def perform_all(wanted: Iterable[Task], workers: int) -> list[Task]:
    """Run what is not finished, each in a process of one thread; those that failed.

    Raises ConfigError before anything is started where a folder holds another run.
    """
    wanted = list(wanted)
    for task in wanted:
        study.check(task)
    waiting = [task for task in wanted if not task.finished]
    print(f"{len(wanted)} runs, {len(wanted) - len(waiting)} of them finished before", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    running: dict[BaseProcess, tuple[Task, float]] = {}
    failed = []
    while waiting or running:
        while waiting and len(running) < workers:
            task = waiting.pop(0)
            running[start(task)] = task, time.monotonic()
        ended = wait([process.sentinel for process in running])
        for process in [one for one in running if one.sentinel in ended]:
            process.join()
            task, began = running.pop(process)
            failed += [task] if process.exitcode else []
            say(task, time.monotonic() - began, process.exitcode, len(waiting) + len(running))
    return failed


def start(task: Task) -> BaseProcess:
    """A run in a process of its own, which ends with this one."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=perform, args=(task,), daemon=True)
    process.start()
    return process


def perform(task: Task) -> None:
    """One run; what it prints goes into its folder."""
    import torch

    torch.set_num_threads(1)
    task.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(task.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        study.run(task, SYSTEMS[task.system].train)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def say(task: Task, seconds: float, code: int | None, left: int) -> None:
    """A line for a run that has ended."""
    end = f"failed, see {task.folder / 'output.txt'}" if code else f"{seconds:.0f} s"
    print(f"{task.data.name} {task.system} seed {task.seed}: {end}; {left} left", flush=True)


def load(out: Path, name: str) -> list[Measured]:
    """The finished runs of a data set."""
    order = {system: entry.models for system, entry in SYSTEMS.items()}
    return load_study(out / name, order)


def report(models: Sequence[Measured]) -> str:
    """The tables of one data set, in Markdown."""
    if not models:
        return "no run has finished"
    parts = [table(HEADER, map(row, models)), table(AGAINST, differences(comparisons(models)))]
    return "\n\n".join([*parts, *price(models)])


def row(model: Measured) -> list[str]:
    """Means over users, and their mean and standard deviation over the seeds."""
    cells = [spread(model.means("test", p, m)) for p, m in COLUMNS.values()]
    chosen_by = spread(model.means("validation", PROTOCOL, METRIC))
    return [model.name, *cells, chosen_by, str(len(model.runs))]


def differences(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A line a pair: difference, interval and p-value by each of `COMPARED`."""
    lines: dict[tuple[str, str], list[str]] = {}
    for one in found:
        cell = f"{one['difference']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}], p {one['p']:.4f}"
        lines.setdefault((one["of"], one["against"]), []).append(cell)
    return [[*pair, *cells] for pair, cells in lines.items()]


def price(models: Sequence[Measured]) -> list[str]:
    """What federation costs: the backbone's share of what the same model reaches without it."""
    return [
        f"backbone / centralised, full NDCG@10, {split}: {one['ratio']:.3f} "
        f"[{one['low']:.3f}, {one['high']:.3f}]"
        for split, one in shares(models).items()
    ]


def shares(models: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """The price by split; empty where one of the two has not finished."""
    named = {model.name: model for model in models}
    if not {"backbone", "centralised"} <= named.keys():
        return {}
    ours, ceiling = named["backbone"], named["centralised"]
    return {
        split: share(ours, ceiling, split)
        for split in LOOKED_AT
        if any(ceiling.values(split).values())
    }


def summary(models: Sequence[Measured]) -> dict[str, Any]:
    """All that the tables say, as numbers."""
    means = {
        model.name: {
            split: {f"{p}/{m}": model.means(split, p, m) for p, m in COLUMNS.values()}
            for split in ("validation", "test")
        }
        for model in models
    }
    return {
        "seeds": {model.name: list(model.runs) for model in models},
        "means": means,
        "comparisons": comparisons(models),
        "backbone / centralised": shares(models),
    }


if __name__ == "__main__":
    main()
