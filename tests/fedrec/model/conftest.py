"""A little catalogue: features, who has them, and a memory over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from fedrec.model.feddmmr import Modality
from fedrec.model.memory import Memory

CATALOGUE, DIM, FEATURE = 12, 8, 5
BATCH, SEQ, SLOTS = 3, 4, 6


@dataclass(frozen=True)
class Scene:
    """memory: of three users at four positions; the last user's is empty at the first position."""

    memory: Memory
    modality: Modality
    embedding: Tensor
    candidates: Tensor
    hidden: Tensor


def make_scene(seed: int = 0) -> Scene:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    present = torch.rand(CATALOGUE, generator=generator) > 0.3
    present[0], present[3] = False, True
    values = nn.functional.normalize(draw(CATALOGUE, FEATURE), dim=-1) * present[:, None]
    item_ids = torch.randint(1, CATALOGUE, (BATCH, SLOTS), generator=generator)
    item_ids[:, 0], item_ids[:, -1] = 3, 0
    age = torch.arange(SEQ)[:, None] - torch.arange(SLOTS).flip(0) + SLOTS
    visible = (torch.rand(BATCH, SEQ, SLOTS, generator=generator) > 0.3) & (item_ids > 0)[:, None]
    visible[:, :, 0] = True
    visible[-1, 0] = False
    embedding = draw(CATALOGUE, DIM)
    embedding[0] = 0
    return Scene(
        Memory(item_ids, age.expand(BATCH, SEQ, SLOTS), visible),
        Modality(values, present),
        embedding,
        torch.arange(CATALOGUE),
        draw(BATCH, SEQ, DIM),
    )


@pytest.fixture
def scene() -> Scene:
    return make_scene()


@pytest.fixture
def shake() -> Callable[[nn.Module], nn.Module]:
    """Move every parameter off its initial value."""

    def shaken(module: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        return module

    return shaken
