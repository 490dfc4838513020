"""Runs of a study, kept in a folder: each is made once, and begins with what another one shares."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from client import node_cache
from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config, from_flat, to_flat
from fedrec.config.loading import Scalar
from fedrec.data import PreparedData
from fedrec.data.folder import read_manifest
from fedrec.evaluation.checkpoint import rank_checkpoint
from fedrec.evaluation.metrics import metrics_from_sums, rank_sums
from fedrec.evaluation.rank_file import read_rank_file, write_rank_file
from fedrec.evaluation.ranks import Ranks
from fedrec.evaluation.sampling import sample_users
from in_process import run_in_process
from reuse import begin_with
from server.launch_folder import MAY_DIFFER
from shuffled import shuffled_copy
from variants import SHUFFLED, stages_shared

SPLIT = "validation"


@dataclass(frozen=True)
class Job:
    """One run: a variant's settings on a data set from a seed.

    config: all of them. key: what is computed, whatever folder or machine computes it.
    """

    name: str
    settings: Mapping[str, Scalar]
    config: Config
    key: str


class Study:
    """results.jsonl has a line a finished run; ranks/KEY.parquet what it ranked whom."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._log = self.folder / "results.jsonl"
        self.folder.mkdir(parents=True, exist_ok=True)

    def job(self, name: str, base: Config, settings: Mapping[str, Scalar]) -> Job:
        """The run of `base` with `settings` over it; its data are made where they are shuffled."""
        data, seed = Path(base.run.data).resolve(), base.run.seed
        if settings.get("run.data") == SHUFFLED:
            version = _digest(read_manifest(data)["files"])
            copy = self.folder / "shuffled" / f"{data.name}-{version}-{seed}"
            data = shuffled_copy(data, copy, seed=seed)
        changed: dict[str, Scalar] = {**to_flat(base), **settings, "run.data": str(data)}
        config = from_flat(changed)
        return Job(name, dict(settings), config, _key(config))

    def run(self, job: Job, default: Job) -> dict[str, Any]:
        """The line of a job, made now unless it was before. default: has been run, or is the job.

        Raises FedrecError where the run fails.
        """
        found = self.lines().get(job.key)
        if found is None or (job is default and not self._run_folder(job).exists()):
            return self._make(job, default)
        return found

    def lines(self) -> dict[str, dict[str, Any]]:
        """What has been made, by key; a line that a kill cut short counts as nothing."""
        found = {}
        for text in self._log.read_text().splitlines() if self._log.exists() else ():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            found[line["key"]] = line
        return found

    def ranks(self, job: Job) -> Ranks:
        """Every user's rank after the job's last stage."""
        (parts,) = read_rank_file(self.folder / "ranks" / f"{job.key}.parquet").stages.values()
        return parts[0]

    def _make(self, job: Job, default: Job) -> dict[str, Any]:
        began, folder = time.monotonic(), self._run_folder(job)
        shared = self._begin(job, default)
        resume = (folder / "config.toml").exists()
        config = replace(job.config, run=replace(job.config.run, resume=resume))
        try:
            run_in_process(config, folder)
            results = json.loads((folder / "results.json").read_text())["stages"]
            last = list(results)[-1]
            ranks = _ranked(job.config, folder / "checkpoints" / f"{last}.safetensors")
        finally:
            _forget()
        write_rank_file(
            self.folder / "ranks" / f"{job.key}.parquet", {last: [ranks]}, metadata={"key": job.key}
        )
        line = {
            "key": job.key, "data": Path(job.config.run.data).name, "variant": job.name,
            "seed": job.config.run.seed, "settings": job.settings, "stage": last,
            "shared": shared, "skipped": results[last]["skipped"],
            "best_rounds": {stage: part["best_round"] for stage, part in results.items()},
            SPLIT: metrics_from_sums(rank_sums(ranks), SPLIT),
            "seconds": round(time.monotonic() - began, 1),
        }  # fmt: skip
        self._append(line)
        if job.key != default.key:
            shutil.rmtree(folder)  # the default's is what others begin with
        return line

    def _begin(self, job: Job, default: Job) -> list[str]:
        """Give a run that is new the stages that it shares with the default's; which they are."""
        folder, source = self._run_folder(job), self._run_folder(default)
        shared = stages_shared(job.settings) if job.key != default.key else []
        if not (folder / "config.toml").exists():
            shutil.rmtree(folder, ignore_errors=True)  # what a kill left before anything was run
            if shared:
                begin_with(job.config, folder, source, shared)
        return shared

    def _run_folder(self, job: Job) -> Path:
        return self.folder / "runs" / job.key

    def _append(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line) + "\n"
        if self._log.exists() and not self._log.read_bytes().endswith(b"\n"):
            text = "\n" + text
        with self._log.open("a") as log:
            log.write(text)
            log.flush()
            os.fsync(log.fileno())


def _ranked(config: Config, checkpoint: Path) -> Ranks:
    """The ranks of the users that the run itself asked."""
    data = PreparedData.load(config.run.data)
    asked = sample_users(data, SPLIT, config.evaluation.users_of(SPLIT), config.evaluation.seed)
    return rank_checkpoint(load_checkpoint(checkpoint), data, SPLIT, users=asked)


def _key(config: Config) -> str:
    """A digest of all settings that change what is learned, and of the data."""
    left_out = MAY_DIFFER | {"run.data"}
    settings = {key: value for key, value in to_flat(config).items() if key not in left_out}
    return _digest([settings, read_manifest(Path(config.run.data))["files"]])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _forget() -> None:
    """Let go of data, features and nodes that the client app keeps for a run's next message."""
    for kept in vars(node_cache).values():
        if hasattr(kept, "cache_clear"):
            kept.cache_clear()
