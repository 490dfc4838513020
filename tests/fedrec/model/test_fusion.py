from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedrec.model.experts import Reading
from fedrec.model.fusion import CrossModalFusion
from fedrec.model.memory import FactoredAttention


@pytest.fixture
def fusion(scene, shake) -> CrossModalFusion:
    torch.manual_seed(0)
    return shake(CrossModalFusion(dim=scene.hidden.shape[-1]))


@pytest.fixture
def readings(scene) -> dict[str, Reading]:
    """Two modalities; some candidates are known to neither."""
    torch.manual_seed(2)
    batch, seq, dim = scene.hidden.shape
    items, slots = len(scene.candidates), scene.memory.item_ids.shape[1]
    made = {}
    for name in ("visual", "semantic"):
        weights = torch.rand(batch, 1, seq, slots)
        kernel, brought = torch.rand(batch, slots, items), torch.randn(batch, slots, dim)
        attention = FactoredAttention.of(weights, kernel)
        known = torch.rand(batch, seq, items) > 0.4
        known[:, :, 0], known[:, :, 1] = False, True
        answers = kernel * (brought @ scene.embedding[scene.candidates].T)
        relevance = torch.zeros(batch, 1, seq, items)
        made[name] = Reading(relevance, known, attention, brought, answers)
    return made


def written_out(fusion: CrossModalFusion, scene, readings: dict[str, Reading]) -> Tensor:
    """One state, candidate and modality at a time: attention over representations."""
    fused = torch.zeros(next(iter(readings.values())).known.shape)
    for user, position, item in torch.cartesian_prod(*map(torch.arange, fused.shape)):
        state = scene.hidden[user, position]
        views = []
        for reading in readings.values():
            if reading.known[user, position, item]:
                raw = reading.attention.weights[user, 0, position]
                raw = raw * reading.attention.kernel[user, :, item]
                views.append(raw / raw.sum() @ reading.slots[user])
        if views:
            stacked = torch.stack(views)
            logits = fusion.key(stacked) @ fusion.query(state) / len(state) ** 0.5
            memory = torch.softmax(logits, dim=0) @ stacked
            fused[user, position, item] = memory @ scene.embedding[item]
    return fused


def test_equals_attention_over_representations_written_out(fusion, scene, readings) -> None:
    found = fusion(scene.hidden, readings)
    torch.testing.assert_close(found, written_out(fusion, scene, readings), rtol=1e-4, atol=1e-4)


def test_one_modality_alone_is_not_weighed(fusion, scene, readings) -> None:
    """Weights over one option have no gradient; a later stage would refuse what never moved."""
    alone = CrossModalFusion(dim=scene.hidden.shape[-1], modalities=1)
    assert not list(alone.parameters())
    one = {"visual": readings["visual"]}
    found = alone(scene.hidden, one)
    torch.testing.assert_close(found, written_out(fusion, scene, one), rtol=1e-4, atol=1e-4)


def test_where_nothing_is_known_nothing_is_added(fusion, scene, readings) -> None:
    nothing = {
        name: replace(reading, known=torch.zeros_like(reading.known))
        for name, reading in readings.items()
    }
    assert (fusion(scene.hidden, nothing) == 0).all()
