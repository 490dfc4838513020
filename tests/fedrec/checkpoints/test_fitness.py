"""A stage that starts from an unfit parent turns good features into noise: HR@10 .379 -> .252."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest

from fedrec.checkpoints import Arrays, check_parent, group_fingerprints, load_checkpoint
from fedrec.checkpoints.tensors import by_group, model_arrays
from fedrec.config import ModelConfig, to_flat
from fedrec.errors import CheckpointError
from fedrec.stages import STAGES, stage_groups

BEFORE = [("alignment", "backbone"), ("routing", "alignment")]  # stage, parent


@pytest.fixture
def check(initial, toy_config, trained) -> Callable[..., None]:
    """Check a checkpoint as the parent of a stage of the run that `initial` began."""

    def checked(parent, stage: str, **other: object) -> None:
        flat = to_flat(toy_config())
        model = {key: value for key, value in flat.items() if key.startswith("model.")}
        given = {"initial": initial, "catalogue": "c" * 64, "model_config": model, **other}
        check_parent(parent, STAGES[stage], given.pop("initial"), **given)

    return checked


def only(arrays: Arrays, *, without: str) -> Arrays:
    return {name: value for name, value in arrays.items() if name.split(".")[0] != without}


def replaced(arrays: Arrays, group: str, change: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    return {
        name: change(value) if name.split(".")[0] == group else value
        for name, value in arrays.items()
    }


@pytest.mark.parametrize(("stage", "parent"), BEFORE)
def test_a_fit_parent(save, check, trained, stage, parent) -> None:
    saved = save(parent, trained(parent))
    check(saved, stage)
    check(load_checkpoint(saved.path), stage)


def test_the_wrong_stage(save, check, trained) -> None:
    saved = save("backbone", trained("backbone"))
    message = "cannot start stage 'routing': it is of stage 'backbone', needed is 'alignment'"
    with pytest.raises(CheckpointError, match=message):
        check(saved, "routing")


def test_another_catalogue(save, check, trained) -> None:
    saved = save("backbone", trained("backbone"), catalogue="d" * 64)
    with pytest.raises(CheckpointError, match=r"for catalogue dddddddddddd, .* cccccccccccc"):
        check(saved, "alignment")


def test_another_setting_of_the_model(save, check, trained, toy_config) -> None:
    config = {**to_flat(toy_config()), "model.heads": 4}
    saved = save("backbone", trained("backbone"), config=config)
    with pytest.raises(CheckpointError, match=r"model\.heads was 4, now 2"):
        check(saved, "alignment")


def test_a_checkpoint_that_does_not_know_a_setting(save, check, trained, toy_config) -> None:
    config = {key: v for key, v in to_flat(toy_config()).items() if key != "model.router_rank"}
    saved = save("backbone", trained("backbone"), config=config)
    with pytest.raises(CheckpointError, match=r"model\.router_rank was 8, now 2"):
        check(saved, "alignment")  # it was made when there was only what is the default now


def test_a_checkpoint_made_before_a_setting_has_its_default(
    save, check, trained, toy_config
) -> None:
    config = {key: v for key, v in to_flat(toy_config()).items() if key != "model.attention"}
    check(save("backbone", trained("backbone"), config=config), "alignment")


def test_settings_that_do_not_shape_the_model_may_differ(save, check, trained, toy_config) -> None:
    config = to_flat(toy_config("run.seed=9", "training.local_steps=5"))
    check(save("backbone", trained("backbone"), config=config), "alignment")
    assert {f"model.{item.name}" for item in fields(ModelConfig)} <= config.keys()


@pytest.mark.parametrize(("stage", "parent"), BEFORE)
def test_a_missing_group_is_named(save, check, trained, initial, stage, parent) -> None:
    for group in by_group(initial):
        saved = save(parent, only(trained(parent), without=group))
        with pytest.raises(CheckpointError, match=f"group '{group}' is missing"):
            check(saved, stage)


def test_the_item_embedding_dropped_by_a_filter_on_names(save, check, trained) -> None:
    """A filter for `sasrec` once dropped it; it was then frozen at random."""
    kept = {name: value for name, value in trained("backbone").items() if "item" not in name}
    with pytest.raises(CheckpointError, match="group 'item_embedding' is missing"):
        check(save("backbone", kept), "alignment")


@pytest.mark.parametrize(("stage", "parent"), BEFORE)
def test_a_group_as_it_was_initialised_is_named(
    save, check, trained, initial, stage, parent
) -> None:
    required = {
        group
        for name, earlier in STAGES.items()
        for group in stage_groups(earlier, by_group(initial))
        if name in ("backbone", parent)
    }
    assert "item_embedding" in required
    for group in required:
        untrained = {**trained(parent), **by_group(initial)[group]}
        saved = save(parent, untrained)
        with pytest.raises(CheckpointError, match=f"group '{group}' is as it was initialised"):
            check(saved, stage)


def test_groups_that_no_stage_has_trained_yet_may_be_untrained(
    save, check, trained, initial
) -> None:
    arrays = {**trained("alignment"), **by_group(initial)["router"]}
    check(save("alignment", arrays), "routing")


def test_untrained_in_a_run_that_began_elsewhere(save, check, initial) -> None:
    """A parent that was never trained is found by its own run's start, not only by this run's."""
    other = {name: value + np.float32(0.01) for name, value in initial.items()}
    saved = save("backbone", other, initial=group_fingerprints(other))
    with pytest.raises(CheckpointError, match="as it was initialised; stage 'backbone' did not"):
        check(saved, "alignment")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_group_that_is_not_finite_is_named(save, check, trained, value) -> None:
    def spoil(array: np.ndarray) -> np.ndarray:
        spoilt = array.copy()
        spoilt.flat[-1] = value
        return spoilt

    saved = save("backbone", replaced(trained("backbone"), "fusion", spoil))
    with pytest.raises(CheckpointError, match="group 'fusion' holds values that are not finite"):
        check(saved, "alignment")


def test_a_misshapen_group_is_named(save, check, trained) -> None:
    def longer(value: np.ndarray) -> np.ndarray:
        return np.concatenate([value, value])

    saved = save("backbone", replaced(trained("backbone"), "item_embedding", longer))
    message = r"'item_embedding': item_embedding.weight has shape \(82, 8\), the model \(41, 8\)"
    with pytest.raises(CheckpointError, match=message):
        check(saved, "alignment")


def test_a_group_unknown_to_the_model_is_named(save, check, trained) -> None:
    extra = {"audio_expert.scale": np.ones(1, dtype=np.float32)}
    saved = save("backbone", {**trained("backbone"), **extra})
    with pytest.raises(CheckpointError, match="group 'audio_expert' is unknown to the model"):
        check(saved, "alignment")


def test_a_model_of_another_width(save, check, trained, toy_config, toy_model) -> None:
    wider = model_arrays(toy_model(toy_config("model.dim=16")))
    with pytest.raises(CheckpointError, match=r"'backbone': .* has shape .*8.*, the model .*16"):
        check(save("backbone", trained("backbone")), "alignment", initial=wider)


def test_a_group_that_lacks_one_of_its_parameters(save, check, trained) -> None:
    arrays = trained("backbone")
    del arrays["fusion.key.weight"]
    message = r"'fusion': fusion.key.weight has shape None, the model \(8, 8\)"
    with pytest.raises(CheckpointError, match=message):
        check(save("backbone", arrays), "alignment")


def test_the_checkpoint_is_named(save, check, trained) -> None:
    saved = save("backbone", trained("backbone"), catalogue="d" * 64)
    with pytest.raises(CheckpointError, match=r"backbone\.safetensors cannot start stage"):
        check(saved, "alignment")
