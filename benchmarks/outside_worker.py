"""SASRec of the library RecTools, trained and asked in an environment of its own.

`python outside_worker.py FOLDER` reads `training.npz`, `questions.npz` and `settings.json`, which
`outside_sasrec.py` wrote there, and after every so many epochs writes `scores-<epoch>.npz`:
`validation` and `test`, float32 [users, items + 1], -inf where the library says nothing. It gets no
held-out item but the inputs of the questions, and does not choose the epoch.
Nothing of fedrec is imported: the folder is all that both sides share.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as lightning
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

SPLITS = ("validation", "test")


def main() -> None:
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    training = np.load(folder / "training.npz")
    questions = np.load(folder / "questions.npz")
    num_items = settings["num_items"]
    lightning.seed_everything(settings["seed"], workers=True)
    fitted = dataset(training["items"], training["ends"])
    asked = {
        split: dataset(questions[f"{split}_items"], questions[f"{split}_ends"]) for split in SPLITS
    }
    model = SASRecModel(**settings["model"])
    seconds = 0.0
    for epoch in range(settings["every"], settings["epochs"] + 1, settings["every"]):
        began = time.perf_counter()
        model.fit_partial(fitted, min_epochs=settings["every"], max_epochs=settings["every"])
        seconds += time.perf_counter() - began
        users = len(questions["test_ends"])
        scores = {split: scored(model, asked[split], users, num_items) for split in SPLITS}
        np.savez(folder / f"scores-{epoch:04d}.npz", **scores, seconds=np.array(seconds))
        print(f"epoch {epoch}: {seconds:.0f} s of training", flush=True)
    (folder / "about.json").write_text(json.dumps(about()))


def dataset(items: Any, ends: Any) -> Any:
    """Sequences as the library's data: a sequence is a user, its places are the seconds."""
    lengths = np.diff(ends, prepend=0)
    sequences = np.repeat(np.arange(len(ends)), lengths)
    places = np.arange(len(items)) - np.repeat(ends - lengths, lengths)
    columns = {
        Columns.User: sequences,
        Columns.Item: items,
        Columns.Weight: 1.0,
        Columns.Datetime: pd.to_datetime(places, unit="s"),
    }
    return Dataset.construct(pd.DataFrame(columns))


def scored(model: Any, asked: Any, users: int, num_items: int) -> Any:
    """Every item's score for every user: float32 [users, items + 1]."""
    found = model.recommend(
        users=asked.user_id_map.external_ids,
        dataset=asked,
        k=num_items,
        filter_viewed=False,
        add_rank_col=False,
        on_unsupported_targets="ignore",
    )
    scores = np.full((users, num_items + 1), -np.inf, dtype=np.float32)
    scores[found[Columns.User].to_numpy(), found[Columns.Item].to_numpy()] = found[Columns.Score]
    return scores


def about() -> dict[str, Any]:
    """What trained."""
    versions = {name: version(name) for name in ("rectools", "torch", "pytorch-lightning", "numpy")}
    return {"python": platform.python_version(), "versions": versions}


if __name__ == "__main__":
    main()
