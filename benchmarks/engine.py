"""A whole round through Flower: users together on a few nodes, and a node for every user.

`fedrec run` with all users on a few nodes (ours), the same app with one Flower node a user, and the
same users, model and local training by pfl-research's SimulatedBackend: all on as many processes of
one thread as there are cores, all users in every round. Seconds are those from a round's messages
to the new model; the first round starts processes and loads data, and the last one validates, so
neither counts. The users are the first of a folder; without features, which this stage ignores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measuring import Spread, arguments, conditions, publish, table
from runs import running
from server.launch import cores
from workload import BACKBONE_ALONE, BUILT_IN, BY_USERS, first_users, load

STAGE = "backbone"
PFL = "0.6.0"
PFL_NEEDS = [f"pfl=={PFL}", "dp-accounting<0.6", "prv-accountant<0.3", "multiprocess<0.71"]
PFL_NEEDS += ["dill", "absl-py", "attrs", "mpmath"]
INSTALL = f"pip install --no-deps --target DIR {' '.join(PFL_NEEDS)}"
HEADER = ["engine", "nodes", "seconds a round", "users/s", "peak GiB", "ours is faster by"]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=BUILT_IN, help="a prepared folder")
    parser.add_argument("--users", type=int, default=500, help="in all")
    parser.add_argument("--rounds", type=int, default=5, help="that count")
    parser.add_argument("--nodes", type=int, default=2, help="of ours")
    parser.add_argument("--pfl", type=Path, metavar="DIR", help="where pfl is: " + INSTALL)
    asked = parser.parse_args()
    if asked.quick:
        asked.users, asked.rounds = min(asked.users, 32), 2
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as place:
        data = first_users(load(asked.data), asked.users, Path(place))
        users = load(data).num_users
        found = {
            "fedrec": by_flower(data, asked.nodes, asked.rounds),
            "one node a user": by_flower(data, users, asked.rounds),
            "pfl-research": by_pfl(data, asked.pfl, asked.rounds),
        }
    about = f"stage {STAGE}, all {users} users in every round, {cores()} processes"
    settings = {key: value for key, value in vars(asked).items() if key != "json"}
    measured = {"settings": settings, "engines": found}
    publish(asked.json, conditions(), measured, f"{about}\n\n{report(found, users)}")


def by_flower(data: Path, nodes: int, rounds: int) -> dict[str, Any]:
    """Rounds of `fedrec run` with so many nodes."""
    settings = [
        f"data={data}",
        *BY_USERS,
        f"federation.nodes={nodes}",
        "federation.users_per_round=0",
        'model.visual=""',
        'model.semantic=""',
        f"stages.{STAGE}.rounds={rounds + 2}",
        *BACKBONE_ALONE,
        f"evaluation.every={rounds + 2}",
        "run.baselines=false",
    ]
    with running(settings, quiet=True) as run:
        run.wait()
        counted = run.rounds[1:-1]
        seconds = [record["seconds"] for record in counted]
        return {
            "nodes": nodes,
            "users": [record["users"] for record in counted],
            "seconds": seconds,
            "round_s": Spread.of(seconds),
            "peak_bytes": run.peak_bytes,
        }


def by_pfl(data: Path, pfl: Path | None, rounds: int) -> dict[str, Any]:
    """The same by pfl-research in processes of torchrun, or why not."""
    if pfl is None and find_spec("pfl") is None:
        return {"skipped": f"pfl is not installed; {INSTALL}, then --pfl DIR"}
    folders = [str(Path(__file__).parent.parent), str(pfl) if pfl else ""]
    path = os.pathsep.join(filter(None, [*folders, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={cores()}", str(Path(__file__).with_name("pfl_rounds.py"))]
    command += [str(data), str(rounds + 1), STAGE]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env={**os.environ, **threads, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        return {"skipped": f"pfl ended with code {done.returncode}: {done.stderr[-2000:]}"}
    seconds = json.loads(done.stdout.splitlines()[-1])[1:]
    return {"seconds": seconds, "round_s": Spread.of(seconds)}


def report(found: dict[str, dict[str, Any]], users: int) -> str:
    """A line an engine; what was skipped, and why."""
    ours, rows, skipped = found["fedrec"]["round_s"].median, [], []
    for name, part in found.items():
        if "skipped" in part:
            skipped.append(f"{name} skipped: {part['skipped']}")
            continue
        round_s = part["round_s"]
        peak = f"{part['peak_bytes'] / 2**30:.1f}" if "peak_bytes" in part else ""
        speed = f"{users / round_s.median:.0f}"
        faster = f"{round_s.median / ours:.1f}"
        rows.append([name, part.get("nodes", ""), round_s.text(2), speed, peak, faster])
    return "\n".join([table(HEADER, rows), *skipped])


if __name__ == "__main__":
    main()
