"""The one scoring function, over all parts of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedrec.config import FederationConfig, ModelConfig
from fedrec.model.feddmmr import Active, FedDMMR, Modality, Scored, group_of, groups
from fedrec.model.memory import Memory
from fedrec.stages import STAGES, stage_groups

TRUNK = Active(experts=False, router=False)
ALIGNED = Active(experts=True, router=False)
ROUTED = Active(experts=True, router=True)
ROUTERS = ("flat", "hierarchical")
USERS = [3, 20, 22, 23]
TRANSITIONS = "model.transitions=4"


@pytest.fixture
def setting(toy_config, toy_node, toy_model) -> Callable[..., tuple]:
    """(model, histories' hidden states, memory, modalities) of some users' training windows."""

    def make(*overrides: str, shaken: bool = True):
        config = toy_config(*overrides)
        node, model = toy_node(config), toy_model(config, shaken=shaken)
        batch = node._step(node.trainable[USERS], node.task("routing"), 1, 0)
        return model, model.encode(batch.item_ids), batch.memory(), node.modalities

    return make


def score(parts: tuple, active: Active, candidates: Tensor | None = None) -> Scored:
    """Score all items, padding included, unless told which."""
    model, hidden, memory, modalities = parts
    wanted = torch.arange(model.num_items + 1) if candidates is None else candidates
    hidden = hidden[:, -memory.age.shape[1] :]
    adapted = model.adapt(modalities)
    return model.score(hidden, wanted, active=active, memory=memory, adapted=adapted)


def without(memory: Memory) -> Memory:
    return replace(memory, visible=torch.zeros_like(memory.visible))


def absent(modalities: dict[str, Modality]) -> dict[str, Modality]:
    return {
        name: replace(modality, present=torch.zeros_like(modality.present))
        for name, modality in modalities.items()
    }


def test_the_trunk_is_the_dot_product(setting) -> None:
    model, hidden, memory, _ = parts = setting()
    scored = score(parts, TRUNK)
    hidden = hidden[:, -memory.age.shape[1] :]
    torch.testing.assert_close(scored.scores, hidden @ model.item_embedding.weight.T)
    assert scored.router_weights is None


def test_experts_need_a_memory_and_features(setting) -> None:
    model, hidden, _, _ = setting()
    with pytest.raises(ValueError, match="need a memory and the items' adapted features"):
        model.score(hidden, torch.arange(3), active=ALIGNED)


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("active", [TRUNK, ALIGNED, ROUTED], ids=["trunk", "aligned", "routed"])
def test_shared_candidates_equal_candidates_of_each_history(setting, active, router) -> None:
    parts = setting(f"model.router={router}", TRANSITIONS)
    shared = torch.tensor([5, 0, 9, 33, 4])
    each = shared.expand(len(parts[1]), -1)
    torch.testing.assert_close(
        score(parts, active, shared).scores,
        score(parts, active, each).scores,
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("router", ROUTERS)
def test_an_untrained_router_scores_as_alignment_does(setting, router) -> None:
    parts = setting(f"model.router={router}", shaken=False)
    routed, aligned = score(parts, ROUTED), score(parts, ALIGNED)
    torch.testing.assert_close(routed.scores, aligned.scores)
    torch.testing.assert_close(routed.router_weights, aligned.router_weights)


@pytest.mark.parametrize("active", [ALIGNED, ROUTED], ids=["aligned", "routed"])
def test_weights_are_shares_of_the_experts_that_know(setting, active) -> None:
    model, _, memory, modalities = parts = setting()
    weights = score(parts, active).router_weights
    readers = weights.shape[-1] // len(model.expert_names)
    adapted = model.adapt(modalities)
    present = torch.stack([adapted[name].present for name in model.expert_names])
    known = present.T.repeat_interleave(readers, -1)  # [catalogue, experts]
    nobody = ~memory.visible.any(-1)
    assert (weights[:, :, ~known] == 0).all() and (weights[:, :, 0] == 0).all()
    assert (weights[nobody] == 0).all()
    torch.testing.assert_close(
        weights[~nobody][:, 1:].sum(-1), torch.ones_like(weights[~nobody][:, 1:, 0])
    )


@pytest.mark.parametrize("active", [ALIGNED, ROUTED], ids=["aligned", "routed"])
def test_with_every_modality_missing_the_score_is_the_trunks(setting, active) -> None:
    model, hidden, memory, modalities = parts = setting("model.collaborative=false")
    assert not torch.allclose(score(parts, active).scores, score(parts, TRUNK).scores, atol=1e-2)
    blind = (model, hidden, memory, absent(modalities))
    torch.testing.assert_close(score(blind, active).scores, score(parts, TRUNK).scores)


@pytest.mark.parametrize("active", [ALIGNED, ROUTED], ids=["aligned", "routed"])
def test_with_an_empty_memory_the_score_is_the_trunks(setting, active) -> None:
    model, hidden, memory, modalities = parts = setting()
    forgetful = (model, hidden, without(memory), modalities)
    torch.testing.assert_close(score(forgetful, active).scores, score(parts, TRUNK).scores)


@pytest.mark.parametrize("active", [ALIGNED, ROUTED], ids=["aligned", "routed"])
def test_with_no_memory_configured_the_score_is_the_trunks(setting, active) -> None:
    none = ("memory.short_term=0", "memory.long_term=0", "stages.alignment.rounds=0")
    parts = setting(*none, "stages.force=true")
    assert parts[2].item_ids.shape[-1] == 0
    scored = score(parts, active)
    assert torch.equal(scored.scores, score(parts, TRUNK).scores)
    assert (scored.router_weights == 0).all()


def test_a_candidate_without_a_modality_is_scored_by_the_others(setting) -> None:
    """Item 4 lacks an image and a text: whatever stands in their rows, its score stays."""
    model, hidden, memory, modalities = parts = setting()
    noisy = {
        name: replace(modality, values=torch.where(
            modality.present[:, None], modality.values, torch.rand_like(modality.values)
        ))
        for name, modality in modalities.items()
    }  # fmt: skip
    found = score((model, hidden, memory, noisy), ROUTED).scores
    torch.testing.assert_close(found, score(parts, ROUTED).scores)
    assert not torch.allclose(found[..., 4], score(parts, TRUNK).scores[..., 4], atol=1e-3)


def test_the_gate_scales_all_that_the_experts_add(setting) -> None:
    model, *_ = parts = setting()
    trunk, once = score(parts, TRUNK).scores, score(parts, ROUTED).scores
    with torch.no_grad():
        model.gate.mul_(2)
    torch.testing.assert_close(score(parts, ROUTED).scores - trunk, 2 * (once - trunk))


# A gate or an expert without a gradient never moves; this once cost an earlier system months.


def gradients(parts: tuple, active: Active) -> dict[str, Tensor]:
    model: FedDMMR = parts[0]
    scores = score(parts, active).scores
    torch.manual_seed(0)
    (scores * torch.randn_like(scores)).sum().backward()
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad
        for name, value in model.named_parameters()
    }


@pytest.mark.parametrize("router", ROUTERS)
def test_the_score_reaches_every_parameter(setting, router) -> None:
    parts = setting(f"model.router={router}")
    for name, gradient in gradients(parts, ROUTED).items():
        assert gradient.abs().max() > 0, name
        assert torch.isfinite(gradient).all(), name


@pytest.mark.parametrize("stage", ["alignment", "routing"])
def test_at_the_start_every_group_that_trains_has_a_gradient(setting, stage) -> None:
    """The server's step divides by the gradient's size plus tau: near tau there is no step."""
    parts = setting(shaken=False)
    found, members = gradients(parts, STAGES[stage].active), groups(parts[0])
    for group in stage_groups(STAGES[stage], members):
        largest = max(float(found[name].abs().max()) for name in members[group])
        assert largest > 10 * FederationConfig().tau, f"{group} gets {largest}"


def test_at_the_default_start_gate_and_experts_both_move(toy_config, toy_node, toy_model) -> None:
    """At 1e-4 the gate moved a thousand times faster than what it let through, then not at all."""
    default = ModelConfig().gate_init
    assert default >= 0.01
    alone = "stages.alignment.contrastive_weight=0"  # what the scores alone bring
    config = toy_config(f"model.gate_init={default}", alone)
    node, model = toy_node(config), toy_model(config, shaken=False)
    update = node.train(model, node.task("alignment"), 1, list(range(60))).update_sum
    norms = {
        group: float(torch.cat([update[name].flatten() for name in names]).norm()) / 60
        for group, names in groups(model).items()
        if names[0] in update
    }
    assert norms["gate"] > 1e-3
    for expert in ("visual_expert", "semantic_expert", "collaborative_expert"):
        assert norms[expert] > 1e-3 * norms["gate"], norms


def test_groups_are_the_modules(setting) -> None:
    model = setting()[0]
    assert set(groups(model)) == {
        "item_embedding", "backbone", "visual_expert", "semantic_expert", "collaborative_expert",
        "fusion", "router", "gate",
    }  # fmt: skip
    assert groups(model)["gate"] == ("gate",)
    names = [name for members in groups(model).values() for name in members]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert group_of("backbone.blocks.0.expand.bias") == "backbone"


# Adapted features


def test_every_expert_reads_its_own_adapted_features(setting) -> None:
    model, _, _, modalities = setting()
    adapted = model.adapt(modalities)
    assert tuple(adapted) == model.expert_names  # the router knows experts by their place
    for name, held in modalities.items():
        expected = model.expert(name).adapter(held.values)
        torch.testing.assert_close(adapted[name].values, expected)
        assert not torch.allclose(expected, held.values)
        assert torch.equal(adapted[name].present, held.present)


@pytest.mark.parametrize("attention", ["candidate", "history"])
def test_items_are_compared_once_for_all_scores_of_the_catalogue(setting, attention) -> None:
    """Batch by batch, with other items in the memories, as everybody at once without."""
    model, hidden, memory, modalities = setting(f"model.attention={attention}", TRANSITIONS)
    hidden = hidden[:, -memory.age.shape[1] :]
    kept, adapted = model.adapt(modalities, keep_pairs=True), model.adapt(modalities)
    for users in (slice(0, 1), slice(1, 4), slice(0, 4)):
        part = Memory(memory.item_ids[users], memory.age[users], memory.visible[users])
        found, wanted = (
            model.score(hidden[users], None, active=ROUTED, memory=part, adapted=read)
            for read in (kept, adapted)
        )
        torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.router_weights, wanted.router_weights)


def test_the_collaborative_expert_reads_the_id_embeddings(setting) -> None:
    model, _, _, modalities = setting(TRANSITIONS)
    read, table = model.adapt(modalities)["collaborative"], model.item_embedding.weight[:, :8]
    directions = table / table.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    expected = model.collaborative_expert.adapter(directions)
    torch.testing.assert_close(read.values, expected)
    assert read.present.tolist() == [False] + [True] * model.num_items


def test_adapted_features_live_in_the_backbones_space_once_projected(setting) -> None:
    model, _, _, modalities = setting()
    ids = torch.tensor([[1, 2, 3], [5, 6, 7]])
    projected = model.expert("visual").to_backbone(model.adapt(modalities)["visual"].values[ids])
    assert projected.shape == (2, 3, model.item_embedding.embedding_dim)


def test_features_of_another_precision_are_read_in_the_models(setting) -> None:
    model, hidden, memory, modalities = setting()
    halves = {name: replace(held, values=held.values.half()) for name, held in modalities.items()}
    found = score((model, hidden, memory, halves), ROUTED).scores
    expected = score((model, hidden, memory, modalities), ROUTED).scores
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    wide = score((model.double(), hidden.double(), memory, halves), ROUTED).scores
    torch.testing.assert_close(wide.float(), found, rtol=1e-3, atol=1e-3)


# Own candidates of each position


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("active", [TRUNK, ALIGNED, ROUTED], ids=["trunk", "aligned", "routed"])
@pytest.mark.parametrize("shared", [False, True], ids=["each", "shared"])
def test_own_candidates_score_as_among_all(setting, active, router, shared) -> None:
    model, hidden, memory, modalities = parts = setting(f"model.router={router}", TRANSITIONS)
    hidden = hidden[:, -memory.age.shape[1] :]
    generator = torch.Generator().manual_seed(2)
    own = torch.randint(0, model.num_items + 1, hidden.shape[:2], generator=generator)
    others = torch.randint(0, model.num_items + 1, (len(hidden), 5), generator=generator)
    others = others[0] if shared else others
    adapted = model.adapt(modalities)
    found = model.score(hidden, others, own=own, active=active, memory=memory, adapted=adapted)
    everything = score(parts, active)
    wanted = everything.scores.gather(-1, own.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found.own, wanted, rtol=1e-4, atol=1e-5)
    named = others.expand(len(hidden), -1)
    expected = torch.stack([row[:, ids] for row, ids in zip(everything.scores, named, strict=True)])
    torch.testing.assert_close(found.scores, expected, rtol=1e-4, atol=1e-5)
    assert everything.own is None
    if active.experts:  # of all that was asked, each position's own before the others
        ids = torch.cat([own, named], dim=-1)
        weights = [row[:, i] for row, i in zip(everything.router_weights, ids, strict=True)]
        torch.testing.assert_close(found.router_weights, torch.stack(weights), rtol=1e-4, atol=1e-5)


def personal_score(parts: tuple, personal: dict[str, Tensor], active: Active = ROUTED) -> Tensor:
    model, hidden, memory, modalities = parts
    hidden = hidden[:, -memory.age.shape[1] :]
    everything, adapted = torch.arange(model.num_items + 1), model.adapt(modalities)
    return model.score(
        hidden, everything, active=active, memory=memory, adapted=adapted, personal=personal
    ).scores


def test_an_embedding_of_the_user_joins_the_state(setting) -> None:
    model, hidden, memory, modalities = parts = setting()
    own = torch.randn(len(hidden), hidden.shape[-1])
    moved = (model, hidden + own[:, None], memory, modalities)
    for active in (TRUNK, ALIGNED, ROUTED):
        torch.testing.assert_close(
            personal_score(parts, {"embedding": own}, active), score(moved, active).scores
        )


def test_a_gate_of_the_user_multiplies_what_the_experts_say(setting) -> None:
    parts = setting()
    factor = torch.tensor([0.0, 0.5, 2.0, 3.0])[torch.arange(len(parts[1])) % 4]
    trunk, routed = score(parts, TRUNK).scores, score(parts, ROUTED).scores
    found = personal_score(parts, {"gate": factor.log()[:, None]})
    expected = trunk + factor[:, None, None] * (routed - trunk)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_strong_bias_of_the_user_leaves_one_expert(setting) -> None:
    """Then the others' scales say nothing any more."""
    model, _, _, _ = parts = setting("model.router=flat")
    bias = torch.full((len(parts[1]), model.router.experts), -60.0)
    bias[:, model.expert_names.index("collaborative")] = 60.0
    before = personal_score(parts, {"router": bias})
    with torch.no_grad():
        model.visual_expert.scale.add_(5.0)
    known = score(parts, ROUTED).router_weights[..., model.expert_names.index("collaborative")] > 0
    after = personal_score(parts, {"router": bias})
    torch.testing.assert_close(before[known], after[known])
    assert not torch.allclose(score(parts, ROUTED).scores[known], after[known])


def test_what_is_personal_of_an_inactive_part_changes_nothing(setting) -> None:
    model, hidden, _, _ = parts = setting()
    own = {"gate": torch.ones(len(hidden), 1), "router": torch.randn(len(hidden), 6)}
    assert torch.equal(personal_score(parts, own, TRUNK), score(parts, TRUNK).scores)
    only = {"router": torch.randn(len(hidden), model.router.experts)}
    assert torch.equal(personal_score(parts, only, ALIGNED), score(parts, ALIGNED).scores)
