"""What failing nodes cost: a run whose nodes fail at random in every phase, beside one without.

Both are the real apps in this process, with the same settings and seed; several seeds make as many
pairs, and the fates of nodes are drawn from the same seed. A node that fails is not connected, does
not answer, answers with an error, or does its work and the answer is lost, all alike often. In the
end both models are measured on everybody's validation targets, whoever answered during the run.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Error, Message, MessageType
from numpy.typing import NDArray

from fedrec.checkpoints import Arrays, Checkpoint, load_checkpoint
from fedrec.checkpoints.tensors import read_tensors
from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.evaluation.checkpoint import rank_checkpoint
from fedrec.evaluation.metrics import metrics_from_sums, rank_sums
from in_process import DirectGrid, run_in_process
from measuring import arguments, conditions, publish, table
from server.launch_config import read_config
from workload import BACKBONE_ALONE

FATES = ("gone", "silent", "error", "lost")
ALWAYS = ["run.baselines=false", "run.threads=1"]
ALWAYS += BACKBONE_ALONE
QUICK = ["stages.backbone.rounds=4", "evaluation.every=2", "federation.users_per_round=16"]
QUICK += ["model.dim=16", "model.inner=32", "model.layers=1", "evaluation.users=64"]
QUICK += ["stages.backbone.windows=1", "stages.backbone.positions=8", "evaluation.test_users=64"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """value: NDCG@10 of everybody's validation targets, of the best round's model. last: of the
    last round's, to tell what training has lost from what choosing the round has. asked,
    failed: messages to nodes in rounds, and those that led to nothing, nodes that were gone among
    them. lost_rounds: rounds that changed nothing. users: those that trained, by round."""

    value: float
    last: float
    rounds: int
    best_round: int
    asked: int
    failed: int
    lost_rounds: int
    users: float


class FailingGrid(DirectGrid):
    """Nodes that fail with a probability, each by itself in every phase of every round.

    A phase begins when the server looks who is there. While nodes join, nobody fails.
    """

    def __init__(self, config: Config, nodes: int, *, share: float, seed: int) -> None:
        super().__init__(config, nodes)
        self._share, self._generator = share, np.random.default_rng(seed)
        self._fates: dict[int, str] = {}
        self._joined = False
        self.asked = self.failed = 0

    def get_node_ids(self) -> list[int]:
        if self._joined:
            self._fates = {node: self._fate() for node in self.contexts}
        return [node for node in self.contexts if self._fates.get(node) != "gone"]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        asked = list(messages)
        if not asked or asked[0].metadata.message_type == MessageType.QUERY:
            self._joined = bool(asked)
            return super().send_and_receive(asked, timeout=timeout)
        replies = [reply for message in asked if (reply := self._reply(message)) is not None]
        gone = sum(fate == "gone" for fate in self._fates.values())
        self.asked += len(asked) + gone
        self.failed += gone + sum(fate in FATES[1:] for fate in self._of(asked))
        return sorted(replies, key=lambda reply: reply.metadata.src_node_id)

    def _of(self, asked: Iterable[Message]) -> list[str]:
        return [self._fates.get(message.metadata.dst_node_id, "") for message in asked]

    def _fate(self) -> str:
        fails, kind = self._generator.random() < self._share, self._generator.integers(len(FATES))
        return FATES[kind] if fails else "well"

    def _reply(self, message: Message) -> Message | None:
        fate = self._fates.get(message.metadata.dst_node_id, "well")
        if fate == "error":
            return Message(Error(code=2, reason="failed at random"), reply_to=message)
        reply = None if fate == "silent" else self.answer(message)
        return None if fate == "lost" else reply


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("settings", nargs="*", metavar="[CONFIG] KEY=VALUE")
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.3, help="of the nodes fail in a phase")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="a pair for each")
    asked = parser.parse_args()
    sizes = [f"federation.nodes={asked.nodes}", f"stages.backbone.rounds={asked.rounds}"]
    words = [*ALWAYS, *sizes, "stages.backbone.patience=0", *(QUICK if asked.quick else [])]
    config = read_config([*words, *asked.settings], resume=False)
    pairs = {
        seed: (measured(config, 0.0, seed), measured(config, asked.share, seed))
        for seed in asked.seeds[: 1 if asked.quick else None]
    }
    ratios = {
        "best round": [failing.value / whole.value for whole, failing in pairs.values()],
        "last round": [failing.last / whole.last for whole, failing in pairs.values()],
    }
    found = {
        f"seed {seed}, {name}": outcome
        for seed, pair in pairs.items()
        for name, outcome in zip(("no faults", f"{asked.share:.0%} failing"), pair, strict=True)
    }
    outcomes = {name: asdict(outcome) for name, outcome in found.items()}
    publish(asked.json, conditions(), {"runs": outcomes, "ratios": ratios}, report(found, ratios))


def measured(config: Config, share: float, seed: int) -> Outcome:
    """One run with a seed, and how good its best model is for everybody."""
    config = replace(config, run=replace(config.run, seed=seed))
    with tempfile.TemporaryDirectory(prefix="fedrec-faults-") as folder:
        grid = FailingGrid(config, config.federation.nodes, share=share, seed=seed)
        out = run_in_process(config, Path(folder) / "run", grid)
        checkpoint = load_checkpoint(out / "checkpoints" / "backbone.safetensors")
        state = read_tensors(next((out / "checkpoints").glob("state-backbone-*.safetensors")))
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    outcome = Outcome(
        value=_value(checkpoint, config),
        last=_value(replace(checkpoint, arrays=_moved(checkpoint.arrays, state)), config),
        rounds=len(lines),
        best_round=checkpoint.manifest.round,
        asked=grid.asked,
        failed=grid.failed,
        lost_rounds=sum(line["loss"] is None for line in lines),
        users=statistics.mean(line["users"] for line in lines),
    )
    print(f"share {share:g}, seed {seed}: {outcome}", flush=True)
    return outcome


def _moved(arrays: Arrays, state: Mapping[str, NDArray[Any]]) -> Arrays:
    """A model with what trains as a state to resume from has it."""
    return {name: state.get(f"now/{name}", value) for name, value in arrays.items()}


def _value(checkpoint: Checkpoint, config: Config) -> float:
    ranks = rank_checkpoint(checkpoint, PreparedData.load(config.run.data), "validation")
    return metrics_from_sums(rank_sums(ranks), "validation")["full"]["ndcg@10"]


def report(found: dict[str, Outcome], ratios: dict[str, list[float]]) -> str:
    rows = [
        [
            name,
            f"{one.value:.4f}",
            str(one.best_round),
            f"{one.last:.4f}",
            f"{one.users:.0f}",
            f"{one.failed} of {one.asked}",
            f"{one.lost_rounds} of {one.rounds}",
        ]
        for name, one in found.items()
    ]
    heads = [
        "run",
        "NDCG@10",
        "best round",
        "last round's",
        "users a round",
        "nodes failed",
        "rounds lost",
    ]
    lines = [table(heads, rows), ""]
    for what, found_ratios in ratios.items():
        each = ", ".join(f"{ratio - 1:+.2%}" for ratio in found_ratios)
        mean = statistics.mean(found_ratios) - 1
        lines.append(f"change of NDCG@10, {what}, mean of the pairs: {mean:+.2%} ({each})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
