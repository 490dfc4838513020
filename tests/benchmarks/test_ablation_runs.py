"""Runs that are made once and begin with what they share, on a toy shop."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ablation_runs
from ablation_runs import Study
from ablations import compare, report, run_all
from fedrec.checkpoints import Checkpoint, load_checkpoint
from fedrec.checkpoints.tensors import by_group
from fedrec.config import Config, from_flat, to_flat
from fedrec.errors import FedrecError
from fedrec.stages import STAGES, stage_groups
from in_process import run_in_process
from reuse import begin_with
from variants import DEFAULT, settings_of

Configure = Callable[..., Config]


@pytest.fixture
def base(small_config: Configure) -> Config:
    short = {f"stages.{stage}.rounds": 1 for stage in STAGES}
    return small_config({**short, "federation.nodes": 2, "evaluation.test_users": 1})


def configured(base: Config, **settings: Any) -> Config:
    named = {key.replace("__", "."): value for key, value in settings.items()}
    return from_flat({**to_flat(base), **named})


def resumed(config: Config) -> Config:
    return replace(config, run=replace(config.run, resume=True))


def held(folder: Path, stage: str) -> Checkpoint:
    return load_checkpoint(folder / "checkpoints" / f"{stage}.safetensors")


# ------------------------------------------------------------------------------------ shared stages


def test_a_run_that_begins_with_anothers_stage_ends_as_one_of_its_own(base, tmp_path) -> None:
    """The same numbers, bit by bit: that is what makes differences paired."""
    source = run_in_process(base, tmp_path / "default")
    changed = configured(base, stages__alignment__contrastive_weight=0.4)
    whole = run_in_process(changed, tmp_path / "whole")
    begin_with(changed, tmp_path / "begun", source, ["backbone"])
    begun = run_in_process(resumed(changed), tmp_path / "begun")
    for stage in STAGES:
        ours, theirs = held(begun, stage), held(whole, stage)
        assert ours.manifest.fingerprint == theirs.manifest.fingerprint, stage
        assert ours.manifest.metrics == theirs.manifest.metrics
        assert (ours.manifest.parent, ours.manifest.trained) == (
            theirs.manifest.parent, theirs.manifest.trained,
        )  # fmt: skip
    assert (
        held(whole, "routing").manifest.fingerprint != held(source, "routing").manifest.fingerprint
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"model__semantic": "", "model__collaborative": False},
        {"model__gate": "none", "model__router": "flat", "model__attention": "history"},
        {"stages__alignment__rounds": 0, "stages__force": True},
    ],
    ids=["fewer experts", "another model", "unaligned"],
)
def test_a_model_may_differ_in_what_the_shared_stages_do_not_train(
    base, tmp_path, settings
) -> None:
    source = run_in_process(base, tmp_path / "default")
    changed = configured(base, **settings)
    begin_with(changed, tmp_path / "begun", source, ["backbone"])
    begun = run_in_process(resumed(changed), tmp_path / "begun")
    ours, theirs = (
        by_group(held(begun, "backbone").arrays),
        by_group(held(source, "backbone").arrays),
    )
    for group in stage_groups(STAGES["backbone"], ours):
        for name, value in ours[group].items():
            np.testing.assert_array_equal(value, theirs[group][name])
    assert held(begun, "routing").manifest.config == {
        **to_flat(resumed(changed)), "run.out": str(begun),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------ a study


def test_what_was_made_is_not_made_again(base, tmp_path, monkeypatch) -> None:
    study = Study(tmp_path / "study")
    default = study.job(DEFAULT, base, {})
    flat = study.job("router/flat", base, settings_of("router/flat", base))
    first = [study.run(job, default) for job in (default, flat)]
    assert [line["shared"] for line in first] == [[], ["backbone"]]
    assert first[1]["variant"] == "router/flat" and first[1]["stage"] == "routing"
    assert study.ranks(flat).users.tolist() == study.ranks(default).users.tolist()

    def never(*_: object) -> Path:
        raise AssertionError("it was made before")

    monkeypatch.setattr(ablation_runs, "run_in_process", never)
    again = Study(tmp_path / "study")
    assert [again.run(job, default) for job in (default, flat)] == first


def test_a_run_that_was_killed_goes_on_with_what_it_has(base, tmp_path, monkeypatch) -> None:
    study = Study(tmp_path / "study")
    default = study.job(DEFAULT, base, {})
    study.run(default, default)
    job = study.job("gate/none", base, settings_of("gate/none", base))
    with monkeypatch.context() as patched:
        patched.setattr(ablation_runs, "_ranked", killed)
        with pytest.raises(KeyboardInterrupt):
            study.run(job, default)
    seen = []

    def noting(config: Config, folder: Path) -> Path:
        seen.append(list(json.loads((folder / "results.json").read_text())["stages"]))
        return run_in_process(config, folder)

    monkeypatch.setattr(ablation_runs, "run_in_process", noting)
    with (study.folder / "results.jsonl").open("a") as log:
        log.write('{"key": "cut sh')
    line = study.run(job, default)
    assert seen == [list(STAGES)]  # every stage had ended
    assert study.lines()[job.key] == line and set(study.lines()) == {default.key, job.key}


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_key_is_what_is_computed(base, tmp_path) -> None:
    study = Study(tmp_path / "study")
    default = study.job(DEFAULT, base, {})
    same = [configured(base, run__threads=3), configured(base, run__out="elsewhere")]
    assert {study.job(DEFAULT, one, {}).key for one in same} == {default.key}
    assert study.job("as the default", base, {"model.router": base.model.router}).key == default.key
    control = settings_of("control/shuffled-features", base)
    others = [
        study.job(DEFAULT, configured(base, run__seed=5), {}),
        study.job("router/flat", base, settings_of("router/flat", base)),
        study.job("control", base, control),
        study.job("control", configured(base, run__seed=5), control),
    ]
    assert len({default.key, *(job.key for job in others)}) == 5
    assert others[2].config.run.data != base.run.data


# -------------------------------------------------------------------------------------- the report


def test_a_study_from_runs_to_table(base, tmp_path, monkeypatch, capsys) -> None:
    names = [DEFAULT, "stages/backbone-alone", "gate/none", "control/shuffled-features"]

    def failing(config: Config, folder: Path) -> Path:
        if config.model.gate == "none":
            raise FedrecError("no round was any good")
        return run_in_process(config, folder)

    monkeypatch.setattr(ablation_runs, "run_in_process", failing)
    study, seeds = Study(tmp_path / "study"), [0, 1]
    failed = run_all(study, [base], names, seeds)
    assert failed == [f"prepared gate/none seed {seed}: no round was any good" for seed in seeds]
    found = compare(study, base, names, seeds)
    assert list(found) == [DEFAULT, "stages/backbone-alone", "control/shuffled-features"]
    for name, part in found.items():
        value = part["full NDCG@10"]
        assert part["seeds"] == len(value["by_seed"]) == 2
        assert value["mean"] == pytest.approx(np.mean(value["by_seed"]))
        assert value["low"] <= value["difference"] <= value["high"]
        against = found[DEFAULT]["full NDCG@10"]["mean"]
        assert value["difference"] == pytest.approx(value["mean"] - against)
        assert (value["low"] == value["high"] == 0) == (name == DEFAULT)
    lines = [line for line in report({"shop": found}).splitlines() if line.startswith("| control")]
    assert len(lines) == 1 and "[" in lines[0]
    capsys.readouterr()
