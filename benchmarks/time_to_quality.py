"""Wall time, rounds and bytes until a stage's validation reaches a target, by the real program.

The clock starts with the command. The run is stopped as Ctrl-C does once its last target is
reached; a stage that misses its target runs to its end. Seconds and bytes are those of everything
so far, the stages before included.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentTypeError
from typing import Any

from fedrec.stages import STAGES
from measuring import arguments, conditions, publish, table
from runs import Run, running

POLL_S = 0.1
HEADER = ["stage", "target", "reached", "best", "rounds", "s", "MB up", "MB down", "users"]
QUICK_TARGETS = {"backbone": 0.004, "alignment": 0.004}
QUICK = ["stages.backbone.rounds=8", "stages.alignment.rounds=4", "stages.routing.rounds=0"]
QUICK += ["evaluation.every=2", "run.baselines=false"]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("settings", nargs="*", metavar="CONFIG [KEY=VALUE ...]")
    parser.add_argument(
        "--target",
        nargs="+",
        type=target,
        default=[],
        metavar="STAGE=NDCG",
        help="validation full NDCG@10, such as backbone=.105",
    )
    asked = parser.parse_args()
    targets = dict(asked.target) or (QUICK_TARGETS if asked.quick else {})
    if not targets:
        parser.error("name a --target, such as backbone=.105")
    settings = (asked.settings or ["default"]) + (QUICK if asked.quick else [])
    with running(settings, quiet=True) as run:
        found = follow(run, targets)
        seconds = time.monotonic() - run.began
        left = run.stop()
    measured = {"settings": settings, "stages": found, "rounds": run.rounds, "wall_s": seconds}
    publish(asked.json, conditions(), measured, report(settings, found))
    missed = [stage for stage, part in found.items() if part["reached"] is None]
    if left or missed:
        print(f"left running: {left or 'nothing'}; not reached: {missed or 'nothing'}")
    sys.exit(1 if left or (asked.quick and missed) else 0)


def target(text: str) -> tuple[str, float]:
    """`STAGE=NDCG` as both."""
    stage, _, value = text.partition("=")
    if stage not in STAGES:
        raise ArgumentTypeError(f"{stage!r} is no stage; stages are {', '.join(STAGES)}")
    return stage, float(value)


def follow(run: Run, targets: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Watch a run until its last target is reached or it has ended; what was seen, by stage."""
    found: dict[str, dict[str, Any]] = {
        stage: {"target": value, "reached": None, "best": 0.0} for stage, value in targets.items()
    }
    so_far = {"bytes_up": 0, "bytes_down": 0, "users": 0}
    last = [stage for stage in STAGES if stage in targets][-1]
    while found[last]["reached"] is None:
        over = run.process.poll() is not None
        for record in run.read():
            so_far = {key: value + record[key] for key, value in so_far.items()}
            if record["stage"] in found and record["validation"] is not None:
                note(found[record["stage"]], record, run, so_far)
        if over:
            run.wait()
            break
        time.sleep(POLL_S)
    return found


def note(part: dict[str, Any], record: dict[str, Any], run: Run, so_far: dict[str, int]) -> None:
    """Compare a validation with the stage's target."""
    value = record["validation"]["full"]["ndcg@10"]
    part["best"] = max(part["best"], value)
    if part["reached"] is None and value >= part["target"]:
        seconds = time.monotonic() - run.began
        part["reached"] = {"value": value, "round": record["round"], "seconds": seconds, **so_far}


def report(settings: list[str], found: dict[str, dict[str, Any]]) -> str:
    """A line a stage."""
    rows: list[list[object]] = []
    for stage, part in found.items():
        row: list[object] = [stage, part["target"], "no", f"{part['best']:.4f}", *[""] * 5]
        if (reached := part["reached"]) is not None:
            row[2] = f"{reached['value']:.4f}"
            megabytes = [f"{reached[key] / 1e6:.1f}" for key in ("bytes_up", "bytes_down")]
            row[4:] = [reached["round"], f"{reached['seconds']:.1f}", *megabytes, reached["users"]]
        rows.append(row)
    return f"{' '.join(settings)}\n\n{table(HEADER, rows)}"


if __name__ == "__main__":
    main()
