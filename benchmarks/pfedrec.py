"""PFedRec on prepared data, with and without the leak of its public code, ranked by our protocol.

Zhang et al., "Dual Personalization on Federated Recommendation", IJCAI 2023, written anew from the
paper: every client keeps a score function (one layer and a sigmoid over an item's embedding) that
is never sent; in a round it moves that function, then its copy of the item embeddings; the server
takes the mean of the embeddings. A client ranks with its own function on its own embeddings.

Rates, sizes and rounds are the defaults of the public code: 32 values, 100 rounds of one local
epoch of everybody, batches of 256, 4 negatives a positive, rate .1, for the embeddings times the
number of items times 80. The best round is chosen by validation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data import PreparedData
from fedrec.errors import DataError
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.ranks import rank_in_blocks
from fedrec.evaluation.targets import SPLITS, Histories
from measuring import arguments, conditions, publish
from peer_table import measured, report
from pfedrec_clients import Clients, Rates, train_round
from pfedrec_examples import ExampleSource
from workload import BUILT_IN

DIM, ROUNDS, BATCH, RATE, LR_ETA = 32, 100, 256, 0.1, 80.0


@dataclass(frozen=True)
class PFedRec:
    """Every client's scores at the chosen round: what `rank_in_blocks` asks for, of either split.

    scores: [users, items + 1]. validation: full NDCG@10 by round, from the first.
    """

    scores: Tensor
    lr_eta: float
    validation: tuple[float, ...]

    def __call__(self, users: NDArray[np.int64]) -> Tensor:
        return self.scores[torch.from_numpy(users)]

    @property
    def quality(self) -> float:
        """Validation full NDCG@10 of the chosen round."""
        return max(self.validation)

    @property
    def chosen(self) -> dict[str, int | float]:
        """What validation chose, and among how many rounds."""
        best = self.validation.index(self.quality) + 1
        return {"round": best, "rounds": len(self.validation), "lr_eta": self.lr_eta}


def train_pfedrec(
    data: Histories,
    *,
    seed: int,
    leak: bool,
    rounds: int = ROUNDS,
    lr_etas: Sequence[float] = (LR_ETA,),
) -> PFedRec:
    """The best round of the best of `lr_etas` by validation full NDCG@10, the test not looked at.

    leak: negatives avoid the held-out items too, see `pfedrec_examples`. Raises DataError for data
    with new items: negatives here are drawn among all items.
    """
    if data.warm_items < data.num_items:
        raise DataError(
            f"{data.num_items - data.warm_items} of {data.num_items} items are new: PFedRec has no "
            "embedding of an item that nobody trained"
        )
    found = [_train(data, seed=seed, leak=leak, rounds=rounds, lr_eta=lr_eta) for lr_eta in lr_etas]
    return max(found, key=lambda trained: trained.quality)


def _train(data: Histories, *, seed: int, leak: bool, rounds: int, lr_eta: float) -> PFedRec:
    table, clients = initial(data, seed)
    source = ExampleSource(data, leak=leak)
    rates = Rates(RATE, RATE * data.num_items * lr_eta, BATCH)
    best, validation = torch.zeros(data.num_users, data.num_items + 1), list[float]()
    for number in range(rounds):
        examples = source.round(np.random.default_rng([seed, number]))
        table, scores = train_round(table, clients, examples, rates)
        quality = _quality(data, scores)
        if quality > max(validation, default=-1.0):
            best = scores
        validation.append(quality)
    return PFedRec(best, lr_eta, tuple(validation))


def initial(data: Histories, seed: int) -> tuple[Tensor, Clients]:
    """The first table [items + 1, dim], normal; everybody starts with the same score function."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(data.num_items + 1, DIM, generator=generator)
    function = (2 * torch.rand(DIM + 1, generator=generator) - 1) / DIM**0.5
    everybody = function.repeat(data.num_users, 1)
    return table, Clients(everybody[:, :DIM].clone(), everybody[:, DIM].clone())


def _quality(data: Histories, scores: Tensor) -> float:
    ranks = rank_in_blocks(
        lambda users: scores[torch.from_numpy(users)], data, None, "validation", ["full"], seed=0
    )
    return float(metric_values(ranks.rank["full"], "ndcg@10").mean())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=BUILT_IN, help="a prepared folder")
    parser.add_argument("--seeds", type=int, default=1, help="runs, with seeds 0, 1, ...")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--lr-eta", type=float, nargs="+", default=[LR_ETA], help="chosen among by validation"
    )
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds = 3
    data = PreparedData.load(asked.data)
    runs = [run(data, seed, asked) for seed in range(asked.seeds)]
    settings = {key: value for key, value in vars(asked).items() if key != "json"}
    text = f"{data.name}, {asked.rounds} rounds\n\n{report(runs)}"
    publish(asked.json, conditions(), {"settings": settings, "runs": runs}, text)


def run(data: PreparedData, seed: int, asked: Any) -> dict[str, dict[str, Any]]:
    """Both variants with a seed, by name."""
    found = {}
    for name, leak in (("pfedrec", False), ("pfedrec with the leak", True)):
        began = time.perf_counter()
        trained = train_pfedrec(
            data, seed=seed, leak=leak, rounds=asked.rounds, lr_etas=asked.lr_eta
        )
        seconds = time.perf_counter() - began
        found[name] = {
            **measured(dict.fromkeys(SPLITS, trained), data),
            "chosen": trained.chosen,
            "seconds": seconds,
        }
        found[name]["by_round"] = trained.validation
    return found


if __name__ == "__main__":
    main()
