"""The main job from command to table: accuracy, speed, traffic and memory of whole runs.

Runs `fedrec run` once a seed, each in processes of its own, and reads what the run itself wrote.
The baselines come from the same runs, the same splits and the same sampled negatives.
"""

from __future__ import annotations

import statistics
from typing import Any

from measuring import arguments, publish, table
from runs import running

COLUMNS = {
    "s100 HR@10": ("sampled100", "hr@10"),
    "s100 NDCG@10": ("sampled100", "ndcg@10"),
    "full HR@10": ("full", "hr@10"),
    "full NDCG@10": ("full", "ndcg@10"),
}
COSTS = ["stage", "rounds", "seconds", "users/s", "MB up", "MB down"]
QUICK = ["stages.backbone.rounds=20", "stages.alignment.rounds=4", "stages.routing.rounds=4"]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("settings", nargs="+", metavar="CONFIG [KEY=VALUE ...]")
    parser.add_argument("--seeds", type=int, default=1, help="runs, with seeds 0, 1, ...")
    asked = parser.parse_args()
    settings = asked.settings + (QUICK if asked.quick else [])
    runs = [measure(settings, seed) for seed in range(asked.seeds)]
    about = runs[0]["results"]["environment"]
    publish(asked.json, about, {"settings": settings, "runs": runs}, report(runs))


def measure(settings: list[str], seed: int) -> dict[str, Any]:
    """One run: its results, its rounds, its wall time in seconds, its peak memory in bytes."""
    with running([*settings, f"seed={seed}"]) as run:
        wall_s = run.wait()
        return {
            "seed": seed,
            "wall_s": wall_s,
            "peak_bytes": run.peak_bytes,
            "results": run.results(),
            "rounds": run.rounds,
        }


def report(runs: list[dict[str, Any]]) -> str:
    """Markdown tables: mean and standard deviation over the seeds."""
    stages = runs[0]["results"]["stages"]
    accuracies = [
        accuracy(runs, kind, name)
        for kind in ("baselines", "stages")
        for name in runs[0]["results"].get(kind, {})
    ]
    peak = spread([run["peak_bytes"] / 2**30 for run in runs], 2)
    return "\n".join(
        [
            f"{len(runs)} seed(s)\n",
            table(["system (test)", *COLUMNS, "validation full NDCG@10"], accuracies) + "\n",
            table(COSTS, [[stage, *stage_costs(runs, stage)] for stage in stages]) + "\n",
            *map(comparison, runs),
            "",
            f"command to table: {spread([run['wall_s'] for run in runs], 1)} s",
            f"peak memory: {peak} GiB",
        ]
    )


def accuracy(runs: list[dict[str, Any]], kind: str, name: str) -> list[str]:
    """A line of the first table: one baseline or stage."""
    parts = [run["results"][kind][name] for run in runs]
    cells = [spread([part["test"][p][m] for part in parts]) for p, m in COLUMNS.values()]
    chosen_by = spread([part["validation"]["full"]["ndcg@10"] for part in parts])
    return [name, *cells, chosen_by]


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
