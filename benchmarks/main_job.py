"""The main job from command to table: accuracy, speed, traffic and memory of whole runs.

Runs `fedrec run` once a seed, each in processes of its own, and reads what the run itself wrote.
The baselines come from the same runs, the same splits and the same sampled negatives.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARK = "FEDREC_BENCHMARK"
COLUMNS = {
    "s100 HR@10": ("sampled100", "hr@10"),
    "s100 NDCG@10": ("sampled100", "ndcg@10"),
    "full HR@10": ("full", "hr@10"),
    "full NDCG@10": ("full", "ndcg@10"),
}
QUICK = ["stages.backbone.rounds=20", "stages.alignment.rounds=4", "stages.routing.rounds=4"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="+", metavar="CONFIG [KEY=VALUE ...]")
    parser.add_argument("--seeds", type=int, default=1, help="runs, with seeds 0, 1, ...")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--quick", action="store_true", help="a few rounds: does it work at all")
    arguments = parser.parse_args()
    settings = arguments.settings + (QUICK if arguments.quick else [])
    runs = [measure(settings, seed) for seed in range(arguments.seeds)]
    print(report(runs))
    if arguments.json:
        arguments.json.write_text(json.dumps({"settings": settings, "runs": runs}, indent=2))


def measure(settings: list[str], seed: int) -> dict[str, Any]:
    """One run: its results, its rounds, its wall time in seconds, its peak memory in bytes."""
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as folder:
        out = Path(folder) / "run"
        command = [str(Path(sys.executable).with_name("fedrec")), "run", *settings]
        command += [f"out={out}", f"seed={seed}"]
        mark = f"{os.getpid()}-{seed}"
        peak, stop = [0], threading.Event()
        watcher = threading.Thread(target=watch_memory, args=(mark, peak, stop))
        watcher.start()
        began = time.monotonic()
        try:
            subprocess.run(command, env={**os.environ, MARK: mark}, check=True)
        finally:
            wall_s = time.monotonic() - began
            stop.set()
            watcher.join()
        return {
            "seed": seed,
            "wall_s": wall_s,
            "peak_bytes": peak[0],
            "results": json.loads((out / "results.json").read_text()),
            "rounds": [json.loads(line) for line in (out / "metrics.jsonl").open()],
        }


def watch_memory(mark: str, peak: list[int], stop: threading.Event) -> None:
    """Keep in `peak[0]` the most memory that all marked processes have held together."""
    while not stop.wait(1.0):
        peak[0] = max(peak[0], sum(marked_memory(mark)))


def marked_memory(mark: str) -> Iterator[int]:
    """Proportional set size, in bytes, of every process that inherited the mark."""
    wanted = f"{MARK}={mark}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted not in (process / "environ").read_bytes().split(b"\0"):
                continue
            for line in (process / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    yield int(line.split()[1]) * 1024
        except OSError:
            continue  # it has ended


def report(runs: list[dict[str, Any]]) -> str:
    """A Markdown table: mean and standard deviation over the seeds."""
    environment = runs[0]["results"]["environment"]
    versions = ", ".join(f"{name} {value}" for name, value in environment["versions"].items())
    lines = [
        "",
        f"{environment['processor']}, {environment['cores']} cores; {versions}; "
        f"{len(runs)} seed(s)",
        "",
        "| system (test) | " + " | ".join(COLUMNS) + " | validation full NDCG@10 |",
        "|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for kind in ("baselines", "stages"):
        for name in runs[0]["results"].get(kind, {}):
            parts = [run["results"][kind][name] for run in runs]
            cells = [spread([part["test"][p][m] for part in parts]) for p, m in COLUMNS.values()]
            cells.append(spread([part["validation"]["full"]["ndcg@10"] for part in parts]))
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| stage | rounds | seconds | users/s | MB up | MB down |", "|---|" + "---|" * 5]
    for stage in runs[0]["results"]["stages"]:
        lines.append(f"| {stage} | " + " | ".join(stage_costs(runs, stage)) + " |")
    lines += ["", *map(comparison, runs), ""]
    lines.append(f"command to table: {spread([run['wall_s'] for run in runs], 1)} s")
    lines.append(f"peak memory: {spread([run['peak_bytes'] / 2**30 for run in runs], 2)} GiB")
    return "\n".join(lines)


def stage_costs(runs: list[dict[str, Any]], stage: str) -> list[str]:
    """Rounds, seconds, users trained per second of the whole stage, and traffic."""
    parts = [run["results"]["stages"][stage] for run in runs]
    users = [sum(r["users"] for r in run["rounds"] if r["stage"] == stage) for run in runs]
    rates = [count / part["seconds"] for count, part in zip(users, parts, strict=True)]
    return [
        spread([part["rounds"] for part in parts], 0),
        spread([part["seconds"] for part in parts], 1),
        spread(rates, 0),
        spread([part["bytes_up"] / 1e6 for part in parts], 0),
        spread([part["bytes_down"] / 1e6 for part in parts], 0),
    ]


def comparison(run: dict[str, Any]) -> str:
    """The last comparison of a run: its last stage against its first."""
    found = run["results"].get("comparisons")
    if not found:
        return ""
    last = found[-1]
    return (
        f"seed {run['seed']}: {last['of']} against {last['against']}, {last['split']} "
        f"{last['metric']} {last['difference']:+.4f}, 95% paired bootstrap interval "
        f"[{last['low']:+.4f}, {last['high']:+.4f}]"
    )


def spread(values: list[float], digits: int = 4) -> str:
    """The mean, and the standard deviation where there are several."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
