"""What each way of aggregating keeps of a model, and of an item's true place, where nodes lie.

A federation of nodes in this process trains the backbone, a share of the nodes poisoning every
update; all that they send is within the server's bounds, so nothing is refused. Measured are the
federated validation after the last round, which nothing is chosen by, and how many users have the
promoted item among their first ten: an item that hardly anybody chose. The test is not looked at.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config, load_config
from fedrec.data import PreparedData
from fedrec.evaluation.checkpoint import open_checkpoint
from fedrec.evaluation.segments import training_counts
from fedrec.evaluation.targets import input_items, users_with_target
from fedrec.stages import STAGES
from in_process import DirectGrid, run_in_process
from measuring import arguments, conditions, publish, table
from poisoners import ATTACKS, Knowledge, lying
from workload import BACKBONE_ALONE, BUILT_IN, load

STAGE, SPLIT, FIRST = "backbone", "validation", 10
POPULAR = 50
BLOCK = 128
SMALL = ("model.dim=8", "model.inner=8", "model.layers=1", "model.heads=1")


@dataclass(frozen=True)
class Case:
    """One run. liars: how many nodes lie."""

    seed: int
    defence: str
    attack: str
    liars: int


def main() -> None:
    asked = parse()
    about, data, found = conditions(), load(asked.data), list[dict[str, Any]]()
    torch.set_num_threads(1)
    for case in cases(asked):
        found.append({**asdict(case), "nodes": asked.nodes, **measure(case, asked, data)})
        print(json.dumps(found[-1]), flush=True)
        if asked.json is not None:  # what has been measured is kept, whatever comes
            asked.json.write_text(json.dumps({"conditions": about, "found": found}, default=str))
    header = ["seed", "aggregation", "attack", "liars", "NDCG@10", "exposure", "refused"]
    publish(asked.json, about, {"found": found}, table(header, map(row, found)))


def parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=BUILT_IN)
    parser.add_argument("settings", nargs="*", help="section.key=value")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--shares", type=float, nargs="*", default=(0.1, 0.2), help="that lie")
    parser.add_argument("--attacks", nargs="*", default=tuple(ATTACKS), choices=tuple(ATTACKS))
    parser.add_argument("--defences", nargs="*", default=tuple(defences(1, 0.2)))
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.nodes, asked.shares = 2, 10, (0.2,)
        asked.settings += [*SMALL, "federation.users_per_round=0", "stages.backbone.negatives=8"]
    return asked


def defences(liars: int, share: float) -> dict[str, tuple[str, ...]]:
    """Name -> settings of a server that expects so many liars, a `share` of the nodes."""
    names = ("mean", "median", "trimmed_mean", "krum")
    settings: dict[str, tuple[str, ...]]
    settings = {name: (f"federation.aggregation={name}",) for name in names}
    settings["trimmed_mean"] += (f"federation.trimmed_share={share}",)
    settings["krum"] += (f"federation.malicious_nodes={liars}",)
    return settings


def cases(asked: argparse.Namespace) -> Iterator[Case]:
    """Every defence without liars and against every attack, seed by seed."""
    for seed in range(asked.seeds):
        for defence in asked.defences:
            yield Case(seed, defence, "none", 0)
            for attack in asked.attacks:
                for share in asked.shares:
                    yield Case(seed, defence, attack, round(share * asked.nodes))


def measure(case: Case, asked: argparse.Namespace, data: PreparedData) -> dict[str, Any]:
    """Validation NDCG@10 after the last round, the target's exposure and answers refused."""
    config, target = configuration(case, asked), unpopular(data, case.seed)
    popular = np.argsort(-training_counts(data), kind="stable")[:POPULAR]
    known = Knowledge(target, popular, config.federation.max_update_norm)
    drawn = np.random.default_rng(case.seed).permutation(asked.nodes)[: case.liars]
    attack = ATTACKS.get(case.attack, ATTACKS["sign_flip"])  # of nobody, where nobody lies
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as folder:
        client = lying(attack, set(drawn.tolist()), known)
        grid = DirectGrid(config, asked.nodes, client)
        out = run_in_process(config, Path(folder) / "run", grid)
        stage = json.loads((out / "results.json").read_text())["stages"][STAGE]
        shown = exposure(out / "checkpoints" / f"{STAGE}.safetensors", data, target)
    return {
        "ndcg@10": stage["validation"]["full"]["ndcg@10"],
        "exposure": shown,
        "target": target,
        "refused": stage["refused"],
    }


def configuration(case: Case, asked: argparse.Namespace) -> Config:
    """The default backbone with as many rounds as asked for; validated once, after the last."""
    worst = max(asked.shares, default=0.2)
    expected = defences(max(1, round(worst * asked.nodes)), worst)[case.defence]
    fixed = [
        f"run.data={asked.data}", f"run.seed={case.seed}", "run.baselines=false", "run.threads=1",
        f"federation.nodes={asked.nodes}", *BACKBONE_ALONE,
        f"stages.{STAGE}.rounds={asked.rounds}", f"evaluation.every={asked.rounds}",
        "evaluation.test_users=1",
    ]  # fmt: skip
    return load_config(None, [*fixed, *expected, *asked.settings])


def unpopular(data: PreparedData, seed: int) -> int:
    """An item that occurs in training, drawn from those that occur least."""
    counts = training_counts(data)
    least = np.flatnonzero(counts == counts[counts > 0].min())
    return int(np.random.default_rng([seed, 1]).choice(least))


def exposure(checkpoint: Path, data: PreparedData, item: int) -> float:
    """The share of users who have the item among the first ten that they are shown, of those who
    have not had it."""
    node, model = open_checkpoint(load_checkpoint(checkpoint), data)
    score = node.scorer(model, STAGES[STAGE].active, SPLIT)
    users = users_with_target(data, SPLIT, np.arange(data.num_users))
    asked = np.array([user for user in users if item not in input_items(data, SPLIT, user)])
    shown = 0
    for start in range(0, len(asked), BLOCK):
        block = asked[start : start + BLOCK]
        with torch.no_grad():
            scores = score(block).cpu().numpy()
        scores[:, 0] = -np.inf
        for place, user in enumerate(block):
            scores[place, input_items(data, SPLIT, user)] = -np.inf
        shown += int((np.argsort(-scores, axis=1, kind="stable")[:, :FIRST] == item).sum())
    return shown / len(asked)


def row(one: dict[str, Any]) -> Sequence[object]:
    """A line of the table."""
    return (
        one["seed"], one["defence"], one["attack"], f"{one['liars']} of {one['nodes']}",
        f"{one['ndcg@10']:.4f}", f"{one['exposure']:.3f}", one["refused"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
