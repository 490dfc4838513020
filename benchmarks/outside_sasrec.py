"""SASRec of an established library on our split, ranked by our protocol: a check from outside.

The library, RecTools 0.19, lives in an environment of its own, named by --python:

    python3.11 -m venv OUTSIDE
    OUTSIDE/bin/pip install torch==2.13.0 "rectools[torch]==0.19.0"

Its worker gets the training histories and the inputs of the questions, never a held-out item that
is no input, and answers with a score for every item. The epoch, and the settings where several are
given, are chosen here by validation, and the test is looked at once. The whole history trains,
cut into windows, with a cross-entropy over the whole catalogue.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.data import PreparedData
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.ranks import ScoreBlock, rank_in_blocks
from fedrec.evaluation.targets import SPLITS, Histories, input_pairs, targets_of, users_with_target
from measuring import arguments, conditions, publish
from peer_table import measured, report
from workload import BUILT_IN

WORKER = Path(__file__).with_name("outside_worker.py")
MODEL = {
    "n_blocks": 2,
    "n_heads": 2,
    "n_factors": 64,
    "dropout_rate": 0.3,
    "session_max_len": 50,
    "loss": "softmax",
    "lr": 0.001,
    "batch_size": 64,
}


@dataclass(frozen=True)
class Answer:
    """What the worker left in its folder: the scores of every so many epochs."""

    folder: Path

    @property
    def epochs(self) -> list[int]:
        """Those with scores, in order."""
        return sorted(int(path.stem.split("-")[1]) for path in self.folder.glob("scores-*.npz"))

    def scorer(self, epoch: int, split: str) -> ScoreBlock:
        """An epoch's scores for the questions of a split; raises KeyError for an unknown split."""
        with np.load(self.folder / f"scores-{epoch:04d}.npz") as saved:
            scores = torch.from_numpy(saved[split])
        return lambda users: scores[torch.from_numpy(users)]

    def seconds(self, epoch: int) -> float:
        """The worker's training up to an epoch."""
        with np.load(self.folder / f"scores-{epoch:04d}.npz") as saved:
            return float(saved["seconds"])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--python", type=Path, required=True, help="that of the environment")
    parser.add_argument("--data", type=Path, default=BUILT_IN, help="a prepared folder")
    parser.add_argument("--seeds", type=int, default=1, help="runs, with seeds 0, 1, ...")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--every", type=int, default=5, help="epochs between two validations")
    parser.add_argument("--stride", type=int, default=50, help="from window to window")
    parser.add_argument(
        "--model", type=json.loads, nargs="+", default=[{}], metavar="JSON",
        help=f"settings over {json.dumps(MODEL)}; of several, validation chooses",
    )  # fmt: skip
    asked = parser.parse_args()
    if asked.quick:
        asked.epochs = asked.every = 1
    data = PreparedData.load(asked.data)
    runs = [{"RecTools SASRec": run(data, seed, asked)} for seed in range(asked.seeds)]
    settings = {key: value for key, value in vars(asked).items() if key != "json"}
    text = f"{data.name}\n\n{report(runs)}"
    publish(asked.json, conditions(), {"settings": settings, "runs": runs}, text)


def run(data: PreparedData, seed: int, asked: Any) -> dict[str, Any]:
    """The best epoch of the best settings by validation full NDCG@10, and its test."""
    found = []
    with tempfile.TemporaryDirectory(prefix="fedrec-outside-") as scratch:
        for number, model in enumerate(asked.model):
            folder = Path(scratch) / str(number)
            settings = {"seed": seed, "epochs": asked.epochs, "every": asked.every}
            settings |= {"stride": asked.stride, "model": {**MODEL, **model}}
            answer = train_outside(asked.python, data, folder, settings)
            curve = {epoch: quality(answer, epoch, data) for epoch in answer.epochs}
            found.append((max(curve.values()), curve, answer, settings))
        _, curve, answer, settings = max(found, key=lambda tried: tried[0])
        best = max(curve, key=lambda epoch: curve[epoch])
        scorers = {split: answer.scorer(best, split) for split in SPLITS}
        return {
            **measured(scorers, data),
            "chosen": {"epoch": best, "epochs": asked.epochs},
            "seconds": answer.seconds(max(curve)),
            "tried": [{"settings": tried[3], "validation": tried[1]} for tried in found],
            "settings": settings,
            "library": json.loads((answer.folder / "about.json").read_text()),
        }


def train_outside(python: Path, data: Histories, folder: Path, settings: dict[str, Any]) -> Answer:
    """Let the worker train in `folder`. Raises CalledProcessError where it fails."""
    export(data, folder, length=settings["model"]["session_max_len"], stride=settings["stride"])
    (folder / "settings.json").write_text(json.dumps({**settings, "num_items": data.num_items}))
    subprocess.run([python.absolute(), WORKER, folder], check=True, cwd=folder)
    return Answer(folder)


def export(data: Histories, folder: Path, *, length: int, stride: int) -> None:
    """`training.npz`: windows of the training histories, `length` targets each at most, `stride`
    apart. `questions.npz`: what precedes the target of each split; the test's input ends with the
    validation item, and the test item is nowhere."""
    folder.mkdir(parents=True)
    windows = [
        window
        for user in range(data.num_users)
        for window in cut(data.history(user)[: data.train_end[user]], length, stride)
    ]
    np.savez(
        folder / "training.npz",
        items=np.concatenate(windows),
        ends=np.cumsum([len(window) for window in windows]),
    )
    asked: dict[str, Any] = {}
    for split in SPLITS:
        asked[f"{split}_items"], asked[f"{split}_ends"] = _inputs(data, split)
    np.savez(folder / "questions.npz", **asked)


def cut(history: NDArray[np.int32], length: int, stride: int) -> Iterator[NDArray[np.int32]]:
    """Windows of `length` inputs and the target after each, counted from the history's end."""
    last = len(history)
    while last >= 2:  # an input and a target
        yield history[max(0, last - length - 1) : last]
        last = last - stride if last > length + 1 else 0


def _inputs(data: Histories, split: str) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The inputs one after another, and where each user's end; who has no target has none."""
    targets = targets_of(data, split, users_with_target(data, split))
    rows, items = input_pairs(data, targets)
    lengths = np.bincount(targets.users[rows], minlength=data.num_users)
    return items, np.cumsum(lengths)


def quality(answer: Answer, epoch: int, data: Histories) -> float:
    """Validation full NDCG@10 of an epoch."""
    scorer = answer.scorer(epoch, "validation")
    ranks = rank_in_blocks(scorer, data, None, "validation", ["full"], seed=0)
    return float(metric_values(ranks.rank["full"], "ndcg@10").mean())


if __name__ == "__main__":
    main()
