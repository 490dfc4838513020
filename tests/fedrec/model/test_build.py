from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedrec.config import ModelConfig
from fedrec.evaluation.targets import users_with_target
from fedrec.model.build import build_model
from fedrec.model.feddmmr import FedDMMR, groups
from fedrec.stages import STAGES

WIDTHS = {"visual": 12, "semantic": 10}
# One other value for every option, and what must stand beside it for the option to mean anything.
OTHER = {
    "dim": "16",
    "layers": "1",
    "heads": "4",
    "inner": "20",
    "max_len": "5",
    "visual": "text",
    "semantic": "",
    "further": "audio",
    "collaborative": "false",
    "router": "flat",
    "time_scales": "3",
    "adapter": "6",
    "router_rank": "3",
    "gate_init": "0.3",
    "gate": "none",
    "attention": "history",
    "adapter_init": "random",
    "squeeze": "7",
    "transitions": "3",
    "transition_gate_init": "0.3",
}


def weights(model: FedDMMR) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def build(config: ModelConfig, widths: dict[str, int] = WIDTHS, seed: int = 3) -> FedDMMR:
    return build_model(config, num_items=9, feature_dims=widths, seed=seed)


def test_weights_follow_from_the_arguments(toy_config) -> None:
    config = toy_config().model
    assert same(weights(build(config)), weights(build(config)))
    assert not same(weights(build(config)), weights(build(config, seed=4)))


def test_the_order_of_the_modalities_does_not_matter(toy_config) -> None:
    """A server knows them sorted, a node as configured; the router knows experts by place."""
    one = build(toy_config().model)
    other = build(toy_config().model, {"semantic": 10, "visual": 12})
    assert one.expert_names == other.expert_names
    assert same(weights(one), weights(other))


def test_the_global_generator_is_left_alone(toy_config) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build(toy_config().model)
    assert torch.equal(torch.rand(3), expected)


def test_features_keep_their_width(toy_config) -> None:
    """Squeezing 512 to 128 once destroyed the signal."""
    model = build(toy_config().model, {"visual": 512, "semantic": 384})
    assert model.visual_expert.metric.shape == (512,)
    assert model.visual_expert.adapter.up.out_features == 512
    assert model.semantic_expert.metric.shape == (384,)


def test_features_are_squeezed_where_that_is_asked_for(toy_config) -> None:
    model = build(toy_config("model.squeeze=64").model, {"visual": 512, "semantic": 384})
    for expert, width in ((model.visual_expert, 512), (model.semantic_expert, 384)):
        assert expert.metric.shape == expert.prior.shape == (64,)
        rows = functional.normalize(torch.randn(200, width), dim=-1)
        kept = functional.linear(rows, expert.adapter[0].weight).norm(dim=-1)
        assert 0.9 < kept.mean().item() < 1.1  # the projection keeps lengths on average
        torch.testing.assert_close(expert.adapter(rows).norm(dim=-1), torch.ones(200))
    assert model.collaborative_expert.metric.shape == (8,)  # embeddings are no features


@pytest.mark.parametrize(("gate", "value"), [("frozen", 0.1), ("none", 1.0)])
def test_a_gate_that_does_not_learn_is_no_group(toy_config, gate, value) -> None:
    model = build(toy_config(f"model.gate={gate}").model)
    assert model.gate.tolist() == pytest.approx([value])
    assert "gate" not in groups(model) and "gate" not in model.state_dict()
    learned = weights(build(toy_config().model))
    assert learned.pop("gate").tolist() == pytest.approx([0.1])
    assert same(weights(model), learned)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_modality_that_is_not_there_has_no_expert(toy_config) -> None:
    model = build(toy_config().model, {"semantic": 10})
    assert set(model.expert_names) == {"semantic", "collaborative"}
    alone = build(toy_config("model.collaborative=false").model, {})
    assert alone.expert_names == ()


@pytest.mark.parametrize(("router", "readers"), [("flat", 1), ("hierarchical", 3)])
def test_readers_per_modality(toy_config, router, readers) -> None:
    config = toy_config(f"model.router={router}", "model.time_scales=3").model
    assert len(build(config).visual_expert.scale) == readers


def test_the_untrained_trunk(toy_config) -> None:
    model = build(toy_config("model.dim=64", "model.inner=64").model)
    assert (model.item_embedding.weight[0] == 0).all()
    for values in (model.item_embedding.weight[1:], model.backbone.blocks[0].expand.weight):
        assert 0.015 < values.std().item() < 0.025
    assert (model.backbone.blocks[0].attention.output.bias == 0).all()
    assert (model.backbone.input_norm.weight == 1).all()


def test_all_else_starts_as_it_does_without_transitions(toy_config) -> None:
    without = weights(build(toy_config().model))
    found = weights(build(toy_config("model.transitions=500").model))
    assert found.pop("transition_gate").tolist() == [1.0]
    table, columns = found["item_embedding.weight"].split([8, 1000], dim=1)
    assert same({**found, "item_embedding.weight": table}, without)
    assert (columns[0] == 0).all() and 0.09 < columns[1:].std().item() < 0.11


def test_every_option_is_listed() -> None:
    assert OTHER.keys() == {item.name for item in fields(ModelConfig)}


def outcome(config, toy_node, toy_model) -> tuple[dict[str, torch.Size], Tensor, Tensor]:
    """Shapes; scores of some users; the states of a training window, dropped out."""
    node, model = toy_node(config), toy_model(config)
    users = users_with_target(node.data, "validation", node.trainable[:])[[3, 20, 23]]
    with torch.no_grad():
        scores = node.scorer(model, STAGES["routing"].active, "validation")(users)
        batch = node._step(users[:1], node.task("backbone"), 1, 0)
        states = model.encode(batch.item_ids, batch.keys)
    return {name: value.shape for name, value in model.named_parameters()}, scores, states


@pytest.mark.parametrize("option", OTHER)
def test_no_option_is_dead(option, toy_config, toy_node, toy_model) -> None:
    beside = ["model.transitions=4"] if option == "transition_gate_init" else []
    changed = toy_config(*beside, f"model.{option}={OTHER[option]}")
    shapes, scores, states = outcome(toy_config(*beside), toy_node, toy_model)
    other_shapes, other_scores, other_states = outcome(changed, toy_node, toy_model)
    assert (
        shapes != other_shapes
        or not torch.allclose(scores, other_scores)
        or not torch.allclose(states, other_states)
    )


@pytest.mark.parametrize("option", ["heads", "gate_init", "attention"])
def test_options_without_a_shape_change_what_is_computed(
    option, toy_config, toy_node, toy_model
) -> None:
    shapes, scores, _ = outcome(toy_config(), toy_node, toy_model)
    config = toy_config(f"model.{option}={OTHER[option]}")
    other_shapes, other_scores, _ = outcome(config, toy_node, toy_model)
    assert shapes == other_shapes and not torch.allclose(scores, other_scores)
