"""What each part of the model and of the training is worth: the default against variants of it.

Every variant runs on every data set from every seed. Stages that a variant leaves as they are by
default are taken over from the default's run of the same seed, so that a difference is paired. What
is reported is validation, never test: variants are there to be chosen from.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ablation_runs import Job, Study
from fedrec.config import Config
from fedrec.errors import ConfigError, DataError, FedrecError
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.ranks import Ranks
from fedrec.evaluation.significance import paired_bootstrap
from measuring import arguments, conditions, publish, table
from server.launch_config import find_config, read_config
from variants import DEFAULT, chosen, settings_of

METRICS = {"full NDCG@10": ("full", "ndcg@10"), "s100 NDCG@10": ("sampled100", "ndcg@10")}
# Nobody is asked for a test but one user, whom the run's end cannot do without.
ALWAYS = ["run.baselines=false", "run.threads=1", "evaluation.test_users=1"]
QUICK = [f"stages.{stage}.rounds=2" for stage in ("backbone", "alignment", "routing")]
QUICK += ["evaluation.every=2", "evaluation.users=64", "federation.users_per_round=16"]
QUICK += ["model.dim=16", "model.inner=32", "model.layers=1", "model.adapter=8"]
QUICK += ["stages.backbone.windows=1", "stages.backbone.positions=8", "model.time_scales=2"]
BOOTSTRAP_SEED = 0


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="over the configurations")
    parser.add_argument(
        "--data", nargs="+", default=["data/ml-latest-small"], metavar="FOLDER",
        help="prepared folders; each with the configuration of its name, where there is one",
    )  # fmt: skip
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="GROUP[/NAME]")
    parser.add_argument("--out", type=Path, help="where runs are kept; what is there is not rerun")
    asked = parser.parse_args()
    if asked.out is None and not asked.quick:
        parser.error("name an --out folder, so that a study that stops can go on")
    warn_once()
    overrides = [*ALWAYS, *(QUICK if asked.quick else []), *asked.settings]
    bases = [base_config(folder, overrides) for folder in asked.data]
    names = [DEFAULT, *chosen(asked.only)]
    with tempfile.TemporaryDirectory(prefix="fedrec-ablations-") as temporary:
        study = Study(asked.out or Path(temporary))
        failed = run_all(study, bases, names, asked.seed)
        found = {
            Path(base.run.data).name: compare(study, base, names, asked.seed) for base in bases
        }
    publish(asked.json, conditions(), {"variants": found, "failed": failed}, report(found))
    sys.exit(1 if failed else 0)


def warn_once() -> None:
    """Show a warning of a run when it comes first; most come again in every round."""
    shown: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        known = record.getMessage() in shown
        shown.add(record.getMessage())
        return not known

    handler = logging.StreamHandler()
    handler.addFilter(is_new)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s")


def base_config(folder: str, overrides: Sequence[str]) -> Config:
    """The default to compare with on a data folder."""
    name = Path(folder).resolve().name
    try:
        words = [str(find_config(name))]
    except ConfigError:
        words = []
    return read_config([*words, *overrides, f"data={folder}"], resume=False)


def jobs(study: Study, base: Config, names: Sequence[str], seed: int) -> Iterator[Job]:
    """The runs of a data set and a seed, the default's first; without variants that change nothing
    of its configuration."""
    seeded = replace(base, run=replace(base.run, seed=seed))
    known = set[str]()
    for name in names:
        job = study.job(name, seeded, settings_of(name, seeded))
        if job.key not in known:
            yield job
        known.add(job.key)


def run_all(
    study: Study, bases: Sequence[Config], names: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """Make all runs that are not there yet; what failed, in words."""
    failed = []
    for base, seed in ((base, seed) for base in bases for seed in seeds):
        default, *variants = jobs(study, base, names, seed)
        for job in (default, *variants):
            about = f"{Path(base.run.data).name} {job.name} seed {seed}"
            try:
                line = study.run(job, default)
            except FedrecError as error:
                failed.append(f"{about}: {error}")
                print(f"{about} failed: {error}", file=sys.stderr, flush=True)
                if job is default:
                    break  # the others begin with it
                continue
            value = line["validation"]["full"]["ndcg@10"]
            print(f"{about}: {value:.4f} ({line['seconds']} s)", file=sys.stderr, flush=True)
    return failed


def compare(
    study: Study, base: Config, names: Sequence[str], seeds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """By variant: its metrics, and how they differ from the default's, over the seeds of both."""
    lines = study.lines()
    pairs: dict[str, list[tuple[Ranks, Ranks]]] = {name: [] for name in names}
    for seed in seeds:
        default, *variants = jobs(study, base, names, seed)
        for job in (default, *variants):
            if job.key in lines and default.key in lines:
                pairs[job.name].append((study.ranks(job), study.ranks(default)))
    return {name: measured(part) for name, part in pairs.items() if part}


def measured(pairs: Sequence[tuple[Ranks, Ranks]]) -> dict[str, Any]:
    """pairs: of a variant and the default, one a seed."""
    found: dict[str, Any] = {"seeds": len(pairs)}
    for header, (protocol, metric) in METRICS.items():
        of, against = (
            np.stack([_values(pair[side], pairs[0][0], protocol, metric) for pair in pairs])
            for side in (0, 1)
        )  # [seeds, users]
        low, high = paired_bootstrap(of.mean(0), against.mean(0), seed=BOOTSTRAP_SEED)
        found[header] = {
            "mean": float(of.mean()),
            "by_seed": of.mean(1).tolist(),
            "difference": float((of - against).mean()),
            "differences_by_seed": (of - against).mean(1).tolist(),
            "low": low,
            "high": high,
        }
    return found


def _values(ranks: Ranks, like: Ranks, protocol: str, metric: str) -> Any:
    """Per-user values, float64 [users], of the users and targets of `like`."""
    if not (np.array_equal(ranks.users, like.users) and np.array_equal(ranks.target, like.target)):
        raise DataError("runs of one study ranked other users or targets; is --out of other data?")
    return metric_values(ranks.rank[protocol], metric)


def report(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A table a data set."""
    header = ["variant", "seeds"]
    for name in METRICS:
        header += [name, "difference", "95 %"]
    tables = [
        f"{data}\n\n{table(header, [_row(name, part) for name, part in variants.items()])}"
        for data, variants in found.items()
    ]
    return "\n\n".join([*tables, "Validation; means over seeds; intervals over users, paired."])


def _row(name: str, part: dict[str, Any]) -> list[object]:
    row: list[object] = [name, part["seeds"]]
    for header in METRICS:
        value = part[header]
        row.append(f"{value['mean']:.4f}{_spread(value['by_seed'])}")
        difference = f"{value['difference']:+.4f}{_spread(value['differences_by_seed'])}"
        interval = f"[{value['low']:+.4f}, {value['high']:+.4f}]"
        row += ["", ""] if name == DEFAULT else [difference, interval]
    return row


def _spread(values: Sequence[float]) -> str:
    return f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""


if __name__ == "__main__":
    main()
