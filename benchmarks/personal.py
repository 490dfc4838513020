"""What users gain from what they keep on the node: those who trained, and those who come later.

A seeded fifth of the users is left out of every round. The last stage is trained once without
personal parts and once with each choice of them, from the same model, with the same cohorts, drawn
windows and negatives. Then everybody's validation targets are ranked. Who comes later starts from
zero and fits nothing but the personal parts, for a few steps on the own history.

The last round is measured, not the best: nothing is chosen by what is reported.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.checkpoints.tensors import model_arrays, put_arrays, read_tensors, write_tensors
from fedrec.config import PERSONAL_PARTS, Config, load_config, to_flat
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.significance import paired_bootstrap
from fedrec.evaluation.targets import users_with_target
from fedrec.model.feddmmr import FedDMMR, group_of, groups
from fedrec.stages import STAGES, stage_groups
from fedrec.training.node import Node, load_modalities
from fedrec.training.personal import personal_parts
from fedrec.training.personal_parts import PersonalParts
from fedrec.training.schedule import learning_rate
from measuring import arguments, conditions, publish, table
from workload import BUILT_IN, BY_USERS, build, load

LATE = 0.2
CHOICES = (*PERSONAL_PARTS, ",".join(PERSONAL_PARTS))
METRIC = "ndcg@10"
BRIEFLY = ("model.dim=16", "model.inner=16", "model.layers=1", "federation.users_per_round=8")

Ints = NDArray[np.int64]
Arrays = dict[str, Tensor]


def main() -> None:
    asked = parse()
    about, found = conditions(), []
    torch.set_num_threads(1)
    for seed in range(asked.seeds):
        found += measure_seed(asked, seed)
    header = ["seed", "parts", "whose", "users", METRIC + " without", "with", "difference", "95 %"]
    publish(asked.json, about, {"found": found}, table(header, map(row, found)))


def parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=BUILT_IN)
    parser.add_argument("settings", nargs="*", help="section.key=value")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--late-steps", type=steps, default=(5, 20), help="of who comes later")
    parser.add_argument("--parts", nargs="*", default=CHOICES, help="choices to measure")
    parser.add_argument(
        "--start",
        type=Path,
        help="folder to keep the model before the last stage in, a file a seed",
    )
    asked = parser.parse_args()
    if asked.quick:
        asked.settings += [*BRIEFLY, *(f"stages.{name}.rounds=2" for name in STAGES)]
    return asked


def steps(text: str) -> tuple[int, ...]:
    """`5,20` as numbers."""
    return tuple(int(part) for part in text.split(","))


@dataclass(frozen=True)
class Study:
    """Who trains and who comes later: positions among the node's users that can train."""

    config: Config
    node: Node
    early: Ints
    late: Ints

    @classmethod
    def of(cls, config: Config, data: Path) -> Study:
        """All users of a folder on one node; who comes later is drawn from the run's seed."""
        held = load(data)
        node = Node(held, range(held.num_users), config, load_modalities(held, config))
        order = np.random.default_rng(config.run.seed).permutation(len(node.trainable))
        count = round(LATE * len(order))
        return cls(config, node, np.sort(order[count:]), np.sort(order[:count]))

    def cohort(self, stage: str, number: int) -> Ints:
        """Who trains in a round, the same whatever else is chosen."""
        size = self.config.federation.users_per_round or len(self.early)
        draw = np.random.default_rng([self.config.run.seed, list(STAGES).index(stage), number])
        return np.sort(draw.choice(self.early, min(size, len(self.early)), replace=False))


def measure_seed(asked: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Everything that is compared under one seed."""
    config = load_config(None, [*BY_USERS, *asked.settings, f"run.seed={seed}"])
    study = Study.of(config, asked.data)
    model = build(config, study.node)
    prepare(study, model, asked.start)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    train(study, model, "routing", None)
    without = ndcg(study, model, None)
    return [
        {"seed": seed, "parts": parts, **one}
        for parts in asked.parts
        for one in measure_parts(study, model, start, parts, asked.late_steps, without)
    ]


def prepare(study: Study, model: FedDMMR, folder: Path | None) -> None:
    """The stages before the last, without those who come later; read from a former call's file
    where there is one of the same settings."""
    path = None if folder is None else folder / f"{start_name(study)}.safetensors"
    if path is not None and path.exists():
        put_arrays(model, read_tensors(path))  # type: ignore[arg-type]
        return
    for stage in ("backbone", "alignment"):
        train(study, model, stage, None)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, model_arrays(model))


def start_name(study: Study) -> str:
    """Of everything that the model before the last stage depends on."""
    later = ("personal.", "stages.routing.", "evaluation.")
    known = {k: v for k, v in to_flat(study.config).items() if not k.startswith(later)}
    known["catalogue"] = study.node.data.catalogue_fingerprint
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def measure_parts(
    study: Study,
    model: FedDMMR,
    start: Arrays,
    parts: str,
    late_steps: Sequence[int],
    without: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """The last stage with these parts, against the same without. without: [users]."""
    put(model, start)
    chosen = replace(study.config, personal=replace(study.config.personal, parts=parts))
    kept = PersonalParts(personal_parts(chosen, STAGES["routing"]), chosen.personal.learning_rate)
    train(study, model, "routing", kept)
    found, early = ndcg(study, model, kept), numbers(study, study.early)
    late, alone = numbers(study, study.late), ndcg(study, model, None)
    lines = [
        comparison("trained", found, without, early),
        comparison("trained, parts left out", alone, without, early),
        comparison("late, 0 steps", alone, without, late),
    ]
    for count in late_steps:
        own = PersonalParts(kept.names, kept.rate)
        task = study.node.task("routing")
        study.node.fit_personal(model, task, study.late.tolist(), own, steps=count)
        fitted = ndcg(study, model, own, late)
        lines.append(comparison(f"late, {count} steps", fitted, without, late))
    return lines


def numbers(study: Study, positions: Ints) -> Ints:
    """Those of the users that have a validation target."""
    return users_with_target(study.node.data, "validation", study.node.trainable[positions])


def ndcg(
    study: Study, model: FedDMMR, personal: PersonalParts | None, users: Ints | None = None
) -> NDArray[np.float64]:
    """Of these users, default all, NaN for the others and where there is no target: [users]."""
    ranks = study.node.rank(
        model,
        STAGES["routing"].active,
        "validation",
        users=users,
        protocols=["full"],
        personal=personal,
    )
    values = np.full(study.node.data.num_users, np.nan)
    values[ranks.users] = metric_values(ranks.rank["full"], METRIC)
    return values


def comparison(
    whose: str, with_parts: NDArray[np.float64], without: NDArray[np.float64], users: Ints
) -> dict[str, Any]:
    """Means over `users`, and a paired bootstrap interval of the difference."""
    first, second = with_parts[users], without[users]
    return {
        "whose": whose,
        "users": len(users),
        "without": float(second.mean()),
        "with": float(first.mean()),
        "interval": paired_bootstrap(first, second, seed=0),
    }


def train(study: Study, model: FedDMMR, stage: str, personal: PersonalParts | None) -> None:
    """All rounds of a stage, in place: the node's sums, and a step of Adam for each."""
    task = study.node.task(stage)
    members = groups(model)
    trained = [name for group in stage_groups(task.stage, members) for name in members[group]]
    server = Adam(study.config, model, trained)
    for number in range(1, task.stage_config.rounds + 1):
        cohort = study.cohort(stage, number).tolist()
        update = study.node.train(model, task, number, cohort, personal)
        sums = update.dense(study.node.data.warm_items)
        server.step(
            {name: value / update.weight_sum for name, value in sums.items()},
            learning_rate(task.stage_config, number),
            task.stage_config.backbone_rate,
        )


class Adam:
    """The server's optimiser. Source: Reddi et al. 2021, algorithm 2, with bias corrected."""

    def __init__(self, config: Config, model: FedDMMR, trained: Sequence[str]) -> None:
        self.settings, self.steps = config.federation, 0
        parameters = dict(model.named_parameters())
        self.values = {name: parameters[name] for name in trained}
        self.first = {name: torch.zeros_like(value) for name, value in self.values.items()}
        self.second = {name: torch.zeros_like(value) for name, value in self.values.items()}

    @torch.no_grad()
    def step(self, mean: Arrays, rate: float, backbone_rate: float) -> None:
        """Add a step along the mean update."""
        one, two = self.settings.beta_1, self.settings.beta_2
        self.steps += 1
        for name, value in self.values.items():
            self.first[name].lerp_(mean[name], 1 - one)
            self.second[name].lerp_(mean[name].square(), 1 - two)
            first = self.first[name] / (1 - one**self.steps)
            second = self.second[name] / (1 - two**self.steps)
            share = rate * (backbone_rate if group_of(name) == "backbone" else 1.0)
            value.add_(share * first / (second.sqrt() + self.settings.tau))


@torch.no_grad()
def put(model: FedDMMR, arrays: Arrays) -> None:
    """Let the model be what it was."""
    for name, value in model.named_parameters():
        value.copy_(arrays[name])


def row(found: dict[str, Any]) -> list[object]:
    """A line of the table."""
    low, high = found["interval"]
    return [
        found["seed"], found["parts"], found["whose"], found["users"],
        f"{found['without']:.4f}", f"{found['with']:.4f}",
        f"{found['with'] - found['without']:+.4f}", f"[{low:+.4f}, {high:+.4f}]",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
