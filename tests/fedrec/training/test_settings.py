"""No setting is dead: each changes what a node sends, or is listed as the server's."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from fedrec.config import MemoryConfig, PersonalConfig, StageConfig, TrainingConfig

MEMBERS = [0, 1, 2, 5, 9, 14, 30, 60, 97]
TRAINING = {
    "objective": "bce",
    "local_steps": "2",
    "local_learning_rate": "0.25",
    "clip_norm": "0.01",
    "gbce_calibration": "0.3",
    "random_cuts": "false",
    "proximal": "0.5",
    "memory_mib": "1",
}
NEEDED = {  # without which a setting does nothing
    "gbce_calibration": ("training.objective=gbce",),
    "proximal": ("training.local_steps=2",),
}
STAGE = {
    "windows": "1",
    "positions": "2",
    "negatives": "7",
    "contrastive_weight": "0.9",
    "contrastive_temperature": "0.7",
    "surprise": "3.0",
    "dropout": "0.6",
    "balance_weight": "0.9",
}
SERVER = {  # tested where the server uses them, and in test_schedule.py
    "rounds", "patience", "learning_rate", "warmup_rounds", "final_rate", "backbone_rate",
}  # fmt: skip
PERSONAL = {"parts", "from_stage", "learning_rate"}  # tested in test_personal.py
MEMORY = {"short_term": "5", "long_term": "1", "novelty": "0.9"}


def test_every_setting_is_listed() -> None:
    assert TRAINING.keys() == {item.name for item in fields(TrainingConfig)}
    assert STAGE.keys() | SERVER == {item.name for item in fields(StageConfig)}
    assert {item.name for item in fields(PersonalConfig)} == PERSONAL
    assert MEMORY.keys() == {item.name for item in fields(MemoryConfig)}


def changes(toy_config, toy_node, toy_model, stage: str, setting: str, *base: str) -> bool:
    """Whether a setting changes what a node sends."""
    sent = []
    for overrides in (base, (*base, setting)):
        config = toy_config(*overrides)
        node, model = toy_node(config), toy_model(config)
        sent.append(node.train(model, node.task(stage), 4, MEMBERS).dense(40))
    return any(not torch.allclose(sent[0][name], sent[1][name]) for name in sent[0])


@pytest.mark.parametrize("key", sorted(TRAINING.keys() - {"memory_mib"}))
def test_a_setting_of_training_changes_the_update(toy_config, toy_node, toy_model, key) -> None:
    base = NEEDED.get(key, ())
    setting = f"training.{key}={TRAINING[key]}"
    assert changes(toy_config, toy_node, toy_model, "backbone", setting, *base)


@pytest.mark.parametrize("key", STAGE)
def test_a_setting_of_a_stage_changes_the_update(toy_config, toy_node, toy_model, key) -> None:
    stage = "routing" if key == "balance_weight" else "alignment"
    setting = f"stages.{stage}.{key}={STAGE[key]}"
    assert changes(toy_config, toy_node, toy_model, stage, setting)


@pytest.mark.parametrize("key", MEMORY)
def test_a_setting_of_the_memory_changes_the_update(toy_config, toy_node, toy_model, key) -> None:
    setting = f"memory.{key}={MEMORY[key]}"
    assert changes(toy_config, toy_node, toy_model, "alignment", setting)
    assert not changes(toy_config, toy_node, toy_model, "backbone", setting)


def test_the_seed_changes_the_update(toy_config, toy_node, toy_model) -> None:
    assert changes(toy_config, toy_node, toy_model, "backbone", "run.seed=5")
