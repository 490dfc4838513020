from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedrec.model import experts
from fedrec.model.experts import ADAPTERS, ModalityExpert, Reading, ResidualAdapter

READERS, DIM = 2, 8


KINDS = {
    "feature": {},
    "feature-and-id": {"query_dim": DIM},
    "by-history": {"by_history": True},
    "by-history-and-id": {"by_history": True, "query_dim": DIM},
    "squeezed": {"squeeze": 3},
    "random": {"start": "random"},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def expert(request, scene, shake) -> ModalityExpert:
    torch.manual_seed(0)
    feature = scene.modality.values.shape[1]
    return shake(
        ModalityExpert(feature=feature, dim=DIM, readers=READERS, adapter=3, **request.param)
    )


def read(expert: ModalityExpert, scene, candidates: Tensor | None = None) -> Reading:
    """The expert's reading of a scene, all of it `[batch, ...]`."""
    wanted = scene.candidates if candidates is None else candidates
    adapted = expert.adapter(scene.modality.values)
    return expert(adapted, scene.modality.present, scene.memory, wanted, scene.embedding[wanted])


def attention_written_out(expert: ModalityExpert, scene) -> tuple[Tensor, Tensor]:
    """Attention and similarities as the docstring states them, [batch, readers, seq, items, slots]
    and [batch, items, slots], by a softmax over the visible slots."""
    adapted = expert.adapter(scene.modality.values)
    query, slot = adapted[scene.candidates], adapted[scene.memory.item_ids]
    if expert.query is not None:
        asked = query + expert.query(scene.embedding[scene.candidates])
        query = functional.normalize(asked, dim=-1)
    similarity = torch.einsum("cf,f,bjf->bcj", query, expert.metric, slot)
    sharpness = experts.SHARPNESS_LIMIT * torch.sigmoid(expert.sharpness_logit)
    recency = expert.recency.abs().clamp(max=5)[:, None, None]
    age = torch.log1p(scene.memory.age.float())[:, None]
    filled = scene.memory.visible & scene.modality.present[scene.memory.item_ids][:, None]
    asks = similarity[:, None]  # [batch, 1 or seq, items, slots]
    if expert.by_history:
        asks = newest_asks(expert, slot, scene.memory.age, filled).unsqueeze(-2)
    logits = (sharpness * asks)[:, None] - (recency * age).unsqueeze(-2)
    logits = logits.masked_fill(~filled[:, None, :, None], float("-inf"))
    return torch.softmax(logits, dim=-1).nan_to_num(0.0), similarity


def newest_asks(expert: ModalityExpert, slot: Tensor, age: Tensor, filled: Tensor) -> Tensor:
    """Similarity of each slot to the newest one that is filled, position by position."""
    asks = torch.zeros(age.shape)
    for user, position in torch.cartesian_prod(*map(torch.arange, age.shape[:2])):
        if filled[user, position].any():
            ages = age[user, position].tolist()
            there = torch.nonzero(filled[user, position]).flatten().tolist()
            newest = slot[user, min(there, key=ages.__getitem__)]
            asks[user, position] = slot[user] @ (newest * expert.metric)
    return asks


def test_relevance_equals_attention_written_out(expert, scene) -> None:
    attention, similarity = attention_written_out(expert, scene)
    mean = torch.einsum("brtcj,bcj->brtc", attention, similarity)
    adapted = expert.adapter(scene.modality.values)
    prior = adapted[scene.candidates] @ expert.prior
    reading = read(expert, scene)
    expected = experts.SCORE_SCALE * (expert.scale[:, None, None] * mean + prior)
    expected = expected * reading.known[:, None]
    torch.testing.assert_close(reading.relevance, expected, rtol=1e-4, atol=1e-4)


def test_known_is_present_in_the_candidate_and_in_something_visible(expert, scene) -> None:
    reading = read(expert, scene)
    for user, position, item in torch.cartesian_prod(*map(torch.arange, reading.known.shape)):
        slots = scene.memory.item_ids[user][scene.memory.visible[user, position]]
        remembered = bool(scene.modality.present[slots].any())
        expected = remembered and bool(scene.modality.present[item])
        assert bool(reading.known[user, position, item]) == expected
    assert not reading.known[:, :, 0].any() and not reading.known[-1, 0].any()
    assert reading.known.any()


def test_what_is_not_known_is_not_relevant(expert, scene) -> None:
    reading = read(expert, scene)
    unknown = ~reading.known[:, None].expand_as(reading.relevance)
    assert (reading.relevance[unknown] == 0).all() and (reading.relevance[~unknown] != 0).all()


def test_shared_candidates_equal_candidates_of_each_history(expert, scene) -> None:
    """Where they are shared, what two items say of each other is computed once for all slots."""
    slots = scene.memory.item_ids
    assert len(slots.unique()) < slots.numel() / 1.5  # the same items in several histories
    each = scene.candidates.expand(len(scene.hidden), -1)
    shared, apart = read(expert, scene), read(expert, scene, each)
    torch.testing.assert_close(shared.relevance, apart.relevance)
    assert torch.equal(shared.known, apart.known)
    torch.testing.assert_close(shared.slots, apart.slots)
    torch.testing.assert_close(shared.answers, apart.answers, rtol=1e-4, atol=1e-4)
    values = torch.randn(*scene.memory.age.shape)
    torch.testing.assert_close(
        shared.attention.average_per_position(values), apart.attention.average_per_position(values)
    )


def test_shared_candidates_have_the_gradients_of_each_historys_own(expert, scene) -> None:
    each = scene.candidates.expand(len(scene.hidden), -1)
    found = []
    for candidates in (scene.candidates, each):
        reading = read(expert, scene, candidates)
        loss = reading.relevance.square().sum() + reading.slots.square().sum()
        found.append(torch.autograd.grad(loss, list(expert.parameters())))
    for one, other in zip(*found, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_shared_candidates_of_empty_memories(expert, scene) -> None:
    empty = replace(
        scene.memory,
        item_ids=scene.memory.item_ids[:, :0],
        age=scene.memory.age[..., :0],
        visible=scene.memory.visible[..., :0],
    )
    reading = read(expert, replace(scene, memory=empty))
    assert not reading.known.any() and (reading.relevance == 0).all()


def test_a_slot_that_is_not_visible_has_no_influence(expert, scene) -> None:
    memory = scene.memory
    hidden_everywhere = ~memory.visible.any(1)
    assert hidden_everywhere.any()
    other = torch.where(hidden_everywhere, 7, memory.item_ids)
    changed = replace(memory, item_ids=other, age=memory.age + 50 * ~memory.visible)
    before, after = read(expert, scene), read(expert, replace(scene, memory=changed))
    torch.testing.assert_close(after.relevance, before.relevance)
    assert torch.equal(after.known, before.known)


def test_features_of_items_without_the_modality_have_no_influence(expert, scene) -> None:
    present = scene.modality.present
    noise = torch.randn_like(scene.modality.values)
    values = torch.where(present[:, None], scene.modality.values, noise)
    noisy = replace(scene, modality=replace(scene.modality, values=values))
    torch.testing.assert_close(read(expert, noisy).relevance, read(expert, scene).relevance)


def test_readers_differ_by_recency_alone_at_the_start(scene) -> None:
    torch.manual_seed(0)
    width = scene.modality.values.shape[1]
    expert = ModalityExpert(feature=width, dim=8, readers=2, adapter=3)
    assert len(set(expert.recency.tolist())) == 2
    with torch.no_grad():
        expert.recency.fill_(1.0)
    relevance = read(expert, scene).relevance
    torch.testing.assert_close(relevance[:, 0], relevance[:, 1])


def test_by_history_candidates_share_the_attention(scene, shake) -> None:
    for by_history in (False, True):
        torch.manual_seed(0)
        width = scene.modality.values.shape[1]
        expert = ModalityExpert(feature=width, dim=DIM, readers=2, adapter=3, by_history=by_history)
        told_apart = read(shake(expert), scene).attention.average_per_position(
            torch.randn(*scene.memory.age.shape)
        )
        shared = torch.allclose(told_apart, told_apart[..., :1].expand_as(told_apart), atol=1e-6)
        assert shared == by_history


def test_recency_prefers_what_is_newer(scene) -> None:
    """With recency r the older of two equal slots counts (1 + age)^-r of the newer."""
    expert = ModalityExpert(feature=1, dim=8, readers=1, adapter=1)
    with torch.no_grad():
        expert.recency.fill_(2.0)
        expert.metric.fill_(0.0)  # all slots equally similar
    memory = replace(
        scene.memory,
        item_ids=torch.tensor([[1, 2]]),
        age=torch.tensor([[[3, 0]]]),
        visible=torch.tensor([[[True, True]]]),
    )
    present = torch.tensor([False, True, True])
    features = torch.tensor([[0.0], [1.0], [1.0]])
    reading = expert(features, present, memory, torch.tensor([1]), torch.zeros(1, 8))
    told_apart = reading.attention.average_per_position(torch.tensor([[[1.0, 0.0]]]))
    assert told_apart.item() == pytest.approx(1 / 16 / (1 + 1 / 16))


def test_the_adapter_starts_as_the_identity() -> None:
    features = functional.normalize(torch.randn(4, 9), dim=-1)
    adapter = ResidualAdapter(width=9, hidden=3)
    torch.testing.assert_close(adapter(features), features)
    assert (adapter(torch.zeros(1, 9)) == 0).all()


def test_a_random_start_scrambles_what_a_residual_one_keeps() -> None:
    """Neighbours by the features themselves: all of them with the one, few with the other."""
    torch.manual_seed(0)
    features = functional.normalize(torch.randn(300, 64), dim=-1)

    def neighbours(rows: Tensor) -> Tensor:
        return (rows @ rows.T).fill_diagonal_(-2).topk(5, dim=-1).indices

    def kept(adapter: ResidualAdapter) -> float:
        found, true = neighbours(adapter(features)), neighbours(features)
        return (found.unsqueeze(-1) == true.unsqueeze(-2)).any(-1).float().mean().item()

    assert kept(ADAPTERS["identity"](width=64, hidden=8)) == 1.0
    assert kept(ADAPTERS["random"](width=64, hidden=8)) < 0.3


def test_adapted_rows_keep_unit_length(expert, scene) -> None:
    adapted = expert.adapter(scene.modality.values)
    torch.testing.assert_close(adapted.norm(dim=-1), torch.ones(len(adapted)))


def test_all_slots_empty_gives_finite_gradients(expert, scene) -> None:
    blind = replace(scene.memory, visible=torch.zeros_like(scene.memory.visible))
    reading = read(expert, replace(scene, memory=blind))
    (reading.relevance.sum() + reading.slots.sum()).backward()
    gradients = [value.grad for value in expert.parameters() if value.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
