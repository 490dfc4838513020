"""Many rounds with a few clients: does anything grow, is any round lost.

`fedrec server` and a `fedrec client` a node, as an operator starts them, on one folder whose users
are dealt over them.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from deployed import Sample, deployed, fedrec, progress
from measuring import Spread, arguments, conditions, publish, table
from workload import BACKBONE_ALONE, BUILT_IN

SETTLED = 50
"""Rounds after which memory should be steady."""
WITHIN = 0.05
WINDOW = 10
"""Rounds whose median is compared: a single one may fall on a collection or a checkpoint."""
SETTINGS = [
    "federation.users_per_round=32",
    "run.baselines=false",
    *BACKBONE_ALONE,
    "stages.backbone.patience=0",
    "evaluation.every=10",
]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=BUILT_IN, help="a prepared folder")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--limit", type=float, default=7200.0, help="seconds, then it fails")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="over the script's"
    )
    asked = parser.parse_args()
    settled = SETTLED
    if asked.quick:
        asked.rounds, settled = 12, 4
    about = conditions()
    samples, wall_s = run(asked.data, asked.nodes, asked.rounds, asked)
    found = judged(samples, asked.nodes, asked.rounds, settled)
    settings = {key: value for key, value in vars(asked).items() if key != "json"}
    measured = {"settings": settings, "wall_s": wall_s, **found}
    measured["rounds"] = [asdict(sample) for sample in samples]
    publish(asked.json, about, measured, report(found, wall_s))
    if not found["kept"] and not asked.quick:
        sys.exit("a bar was missed")


def run(data: Path, nodes: int, rounds: int, asked: Any) -> tuple[list[Sample], float]:
    """Every round, and the seconds of all."""
    own = [f"data={data}", f"federation.nodes={nodes}", f"stages.backbone.rounds={rounds}"]

    def clients(address: str) -> list[list[str]]:
        place = ["--data", str(data), "--server", address, "--insecure"]
        return [
            [fedrec(), "client", *place, "--partition", f"{number}/{nodes}"]
            for number in range(nodes)
        ]

    with deployed([*SETTINGS, *own, *asked.set], clients) as server:
        wall_s = server.follow(rounds, progress(rounds), asked.limit)
        return server.samples, wall_s


def judged(samples: Sequence[Sample], nodes: int, rounds: int, settled: int) -> dict[str, Any]:
    """How memory at the end compares with that after `settled` rounds; rounds that lost an answer.

    A round's work is what both sides computed between its end and the end of the one before.
    """
    lost = [s.line["round"] for s in samples if s.line["refused"] or s.line["warnings"]]
    sides = {
        "server": [sample.server.anonymous_bytes for sample in samples],
        "clients": [sample.clients.anonymous_bytes for sample in samples],
    }
    growth = {side: _growth(values, settled) for side, values in sides.items()}
    steps = list(pairwise(samples))
    return {
        "completed": len(samples),
        "of": rounds,
        "lost": lost,
        "settled": settled,
        "growth": growth,
        "bytes": sides,
        "proportional_bytes": {
            "server": [sample.server.bytes for sample in samples],
            "clients": [sample.clients.bytes for sample in samples],
        },
        "round_s": Spread.of(sample.line["seconds"] for sample in samples),
        "beyond_training_s": Spread.of(
            s.line["seconds"] - s.line["slowest_node_s"]
            for s in samples
            if s.line["validation"] is None
        ),
        "server_cpu_s": Spread.of(b.server.cpu_s - a.server.cpu_s for a, b in steps),
        "client_cpu_s": Spread.of((b.clients.cpu_s - a.clients.cpu_s) / nodes for a, b in steps),
        "kept": len(samples) == rounds and not lost and max(growth.values()) <= WITHIN,
    }


def _growth(values: Sequence[int], settled: int) -> float:
    """The last rounds' median over that of the first after `settled`, less one."""
    later = values[settled:]
    if not later:
        return 0.0
    return statistics.median(later[-WINDOW:]) / statistics.median(later[:WINDOW]) - 1


def report(found: dict[str, Any], wall_s: float) -> str:
    """A table; rounds that lost something by number."""
    settled, rows = found["settled"], list[list[object]]()
    rows.append(["rounds that ended", f"{found['completed']} of {found['of']}"])
    rows.append(["rounds that lost an answer", len(found["lost"])])
    for side, values in found["bytes"].items():
        at = values[min(settled, len(values)) - 1] / 2**20
        rows.append([f"{side}, MiB after round {settled} and at the end",
                     f"{at:.0f}, {values[-1] / 2**20:.0f}"])  # fmt: skip
        rows.append([f"{side}, growth", f"{found['growth'][side]:+.1%}"])
    rows.append(["seconds a round", found["round_s"].text(2)])
    rows.append(["of these beyond training", found["beyond_training_s"].text(2)])
    rows.append(["CPU seconds a round, server", found["server_cpu_s"].text(2)])
    rows.append(["CPU seconds a round, each client", found["client_cpu_s"].text(2)])
    rows.append(["seconds in all", f"{wall_s:.0f}"])
    return table(["", ""], rows) + (f"\nrounds {found['lost']}" if found["lost"] else "")


if __name__ == "__main__":
    main()
