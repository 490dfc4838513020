"""What a node makes of item features: the memory, the experts, and items that lack some."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedrec.evaluation.targets import users_with_target
from fedrec.memory import residency
from fedrec.model.feddmmr import Modality, groups
from fedrec.stages import STAGES
from fedrec.training.node import Node, load_modalities

ITEMS = 40  # of the toy data


def test_the_memory_follows_from_all_modalities(toy_config, toy_node, toy_data) -> None:
    node = toy_node(toy_config())
    user = int(np.argmax(toy_data.train_end))
    items = toy_data.train_items(user).astype(np.int64)
    content = np.concatenate(
        [modality.values[items].numpy() for modality in node.modalities.values()], axis=1
    )
    content /= np.linalg.norm(content, axis=1, keepdims=True).clip(min=1e-12)
    expected = residency(content, len(items), node.config.memory)
    assert np.array_equal(node._history(user, remembers=True).gone, expected)
    assert node._history(user, remembers=False).gone is None


def test_without_features_the_memory_is_first_in_first_out(toy_config, toy_node, toy_data) -> None:
    node = toy_node(toy_config("model.visual=", "model.semantic="))
    assert node.modalities == {}
    user = int(np.argmax(toy_data.train_end))
    expected = residency(None, int(toy_data.train_end[user]), node.config.memory)
    assert np.array_equal(node._history(user, remembers=True).gone, expected)


def test_features_by_expert(toy_config, toy_data) -> None:
    config = toy_config("model.visual=text", "model.semantic=")
    assert config.model.modalities == {"visual": "text"}
    held = load_modalities(toy_data, config)
    assert held.keys() == {"visual"} and held["visual"].values.shape == (41, 10)
    assert held["visual"].values.dtype == torch.float32
    assert held["visual"].present.tolist() == toy_data.features["text"].present.tolist()


def test_a_further_modality_is_a_file_and_a_line(toy_config, toy_node, toy_model) -> None:
    config = toy_config("model.further=audio")
    node, model = toy_node(config), toy_model(config)
    assert model.expert_names == ("audio", "collaborative", "semantic", "visual")
    assert node.modalities["audio"].values.shape == (41, 6)  # as the file has it, nowhere set
    update = node.train(model, node.task("alignment"), 1, list(range(60))).dense(ITEMS)
    moved = groups(model)["audio_expert"]
    assert all(update[name].abs().max() > 0 for name in moved)


def with_missing(modalities: dict[str, Modality], share: float) -> dict[str, Modality]:
    """Every modality with `share` of the items masked; what stands in masked rows is nonsense."""
    generator = torch.Generator().manual_seed(0)
    masked = {}
    for name, modality in modalities.items():
        order = torch.rand(len(modality.present), generator=generator).argsort()
        missing = torch.zeros(len(order), dtype=torch.bool)
        missing[order[: round(share * len(order))]] = True
        missing[0] = True
        nonsense = 1e3 * torch.randn(modality.values.shape, generator=generator)
        values = torch.where(missing[:, None], nonsense, modality.values)
        masked[name] = Modality(values, ~missing)
    return masked


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("stage", ["alignment", "routing"])
def test_a_share_of_the_features_may_be_missing(
    stage, share, toy_config, toy_model, toy_data
) -> None:
    """Masked rows touch neither an update nor a score; with all masked the experts stand still."""
    config = toy_config("model.collaborative=false")
    model, everybody = toy_model(config), range(toy_data.num_users)
    masked = with_missing(load_modalities(toy_data, config), share)
    empty = {
        name: Modality(torch.where(held.present[:, None], held.values, 0.0), held.present)
        for name, held in masked.items()
    }
    users = users_with_target(toy_data, "validation", np.arange(20, 30))
    results = []
    for modalities in (masked, empty):
        node = Node(toy_data, everybody, config, modalities)
        update = node.train(model, node.task(stage), 1, list(range(30))).dense(ITEMS)
        with torch.no_grad():
            scores = node.scorer(model, STAGES[stage].active, "validation")(users)
        results.append((update, scores))
    (update, scores), (update_empty, scores_empty) = results
    torch.testing.assert_close(scores, scores_empty)
    assert all(torch.isfinite(value).all() for value in update.values())
    for name, value in update.items():
        torch.testing.assert_close(value, update_empty[name], msg=name)
    moved = max(
        float(update[name].abs().max())
        for expert in model.expert_names
        for name in groups(model)[f"{expert}_expert"]
    )
    assert (moved == 0) == (share == 1)
