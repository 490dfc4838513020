"""Many SuperNodes at once on one server: rounds that complete, what it holds, what a round costs.

The users of a folder are dealt over the nodes, and all of them train in every round of the backbone
stage. Nodes are threads of a few processes (light_nodes.py); to the server each is a SuperNode like
any other.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from deployed import Sample, deployed, progress, slope
from measuring import Spread, arguments, conditions, publish, table
from server.launch import cores
from workload import BACKBONE_ALONE, BUILT_IN

SETTLED = 5
"""Rounds after which the server's memory should be steady."""
GROWTH_MB = 1.0
"""What a round may then add, in 1e6 bytes."""
SETTINGS = [
    "federation.users_per_round=0",
    "federation.sparse_rows=true",
    "federation.registration_timeout_s=900",
    "federation.round_timeout_s=900",
    "run.baselines=false",
    *BACKBONE_ALONE,
    "stages.backbone.patience=0",
    "model.visual=",
    "model.semantic=",
    "evaluation.every=10",
]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=BUILT_IN, help="a prepared folder")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=cores(), help="that the nodes share")
    parser.add_argument("--limit", type=float, default=7200.0, help="seconds, then it fails")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="over the script's"
    )
    asked = parser.parse_args()
    if asked.quick:
        asked.nodes, asked.rounds = 12, 7
    about = conditions()
    samples, wall_s = run(asked.data, asked.nodes, asked.rounds, asked.processes, asked)
    found = judged(samples, asked.nodes, asked.rounds)
    settings = {key: value for key, value in vars(asked).items() if key != "json"}
    measured = {"settings": settings, "wall_s": wall_s, **found}
    measured["rounds"] = [asdict(sample) for sample in samples]
    publish(asked.json, about, measured, report(found, asked.nodes, wall_s))
    if not found["kept"] and not asked.quick:
        sys.exit("a bar was missed")


def run(
    data: Path, nodes: int, rounds: int, processes: int, asked: Any
) -> tuple[list[Sample], float]:
    """Every round, and the seconds of all."""
    own = [f"data={data}", f"federation.nodes={nodes}", f"stages.backbone.rounds={rounds}"]
    with deployed(
        [*SETTINGS, *own, *asked.set],
        lambda address: commands(address, data, nodes, min(processes, nodes)),
    ) as server:
        wall_s = server.follow(rounds, progress(rounds), asked.limit)
        return server.samples, wall_s


def commands(address: str, data: Path, nodes: int, processes: int) -> list[list[str]]:
    """A command a process; every node is in one of them."""
    program = str(Path(__file__).with_name("light_nodes.py"))
    cuts = [nodes * number // processes for number in range(processes + 1)]
    return [
        [sys.executable, program, address, str(first), str(end - first), str(nodes), str(data)]
        for first, end in pairwise(cuts)
    ]


def judged(samples: Sequence[Sample], nodes: int, rounds: int) -> dict[str, Any]:
    """Rounds in which every node's answer counted, refusals, and the growth against its bar."""
    held = [sample.lowest for sample in samples]
    growth = slope([float(value) for value in held[SETTLED:]])
    whole = [not s.line["refused"] and not s.line["warnings"] for s in samples]
    found = {
        "nodes": nodes,
        "completed": len(samples),
        "of": rounds,
        "whole": sum(whole),
        "refused": sum(sample.line["refused"] for sample in samples),
        "warnings": [text for sample in samples for text in sample.line["warnings"]],
        "growth_bytes": growth,
        "server_bytes": [sample.server.bytes for sample in samples],
        "server_lowest_bytes": held,
        "round_s": Spread.of(sample.line["seconds"] for sample in samples),
    }
    found["kept"] = len(samples) == rounds and growth < GROWTH_MB * 1e6
    return found


def report(found: dict[str, Any], nodes: int, wall_s: float) -> str:
    """A table and a sentence for each bar."""
    held = found["server_lowest_bytes"]
    rows = [
        ["rounds that ended", f"{found['completed']} of {found['of']}"],
        ["with an answer of every node, none refused", found["whole"]],
        ["updates refused", found["refused"]],
        ["seconds a round", found["round_s"].text(1)],
        ["server, MiB, lowest of the first round", f"{held[0] / 2**20:.0f}"],
        [
            f"server, MiB, lowest of round {SETTLED}",
            f"{held[min(SETTLED, len(held)) - 1] / 2**20:.0f}",
        ],
        ["server, MiB, lowest of the last round", f"{held[-1] / 2**20:.0f}"],
        [f"growth after round {SETTLED}, MB a round", f"{found['growth_bytes'] / 1e6:.2f}"],
        ["seconds in all", f"{wall_s:.0f}"],
    ]
    lines = [table([f"{nodes} nodes", ""], rows), *dict.fromkeys(found["warnings"])]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
