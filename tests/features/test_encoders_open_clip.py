"""open_clip's two towers against open_clip called by hand, with a tiny model's own weights."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from features.encoders import load_image_encoder, load_text_encoder
from features.encoders_open_clip import _needs_quick_gelu, _published_preprocessing
from features.images import decode_image
from features.libraries import library
from features.specs import EncoderSpec, parse_image_encoder, parse_text_encoder
from fedrec.errors import ConfigError, DataError

Clip = tuple[ModuleType, Any, Any, Path]


def cosines(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return (found * expected).sum(1) / lengths


def test_pictures_agree_with_open_clip_called_by_hand(
    tiny_clip: EncoderSpec, tiny_clip_model: Clip, photographs: list[Path]
) -> None:
    _, model, transform, _ = tiny_clip_model
    pictures = [Image.open(path).convert("RGB") for path in photographs]
    with torch.inference_mode():
        expected = model.encode_image(torch.stack([transform(picture) for picture in pictures]))
    encoder = load_image_encoder(tiny_clip, device="cpu")
    found = encoder.encode(
        [encoder.prepare(decode_image(path.read_bytes())) for path in photographs]
    )
    assert encoder.dim == 32
    assert cosines(found, expected.numpy()).min() >= 0.9999
    assert cosines(found[:-1], found[1:]).max() < 0.9999
    assert encoder.weights_sha256 == tiny_clip.weights_sha256()


def test_texts_agree_with_open_clip_called_by_hand(tiny_clip_model: Clip) -> None:
    open_clip, model, _, file = tiny_clip_model
    texts = ["a red car", "", "two dogs and a very long sentence " * 9]
    with torch.inference_mode():
        expected = model.encode_text(open_clip.get_tokenizer("tiny-test-clip")(texts))
    encoder = load_text_encoder(
        parse_text_encoder(f"open_clip:tiny-test-clip/{file}"), device="cpu"
    )
    assert cosines(encoder.encode(texts), expected.numpy()).min() >= 0.9999
    assert encoder.lengths(texts).tolist() == [16, 16, 16]
    assert encoder.dim == 32


def test_the_activation_that_the_tag_was_trained_with_is_used() -> None:
    open_clip = library("open_clip")
    assert _needs_quick_gelu(open_clip, parse_image_encoder("open_clip:ViT-B-32/openai"))
    other = parse_image_encoder("open_clip:ViT-B-32/laion2b_s34b_b79k")
    assert not _needs_quick_gelu(open_clip, other)


def test_unknown_models_and_tags_are_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"has no model 'ViT-B-23'; it has .*ViT-B-32"):
        load_image_encoder(parse_image_encoder("open_clip:ViT-B-23/openai"), device="cpu")
    with pytest.raises(ConfigError, match=r"'opneai' is neither .* its tags: openai, laion"):
        load_image_encoder(parse_image_encoder("open_clip:ViT-B-32/opneai"), device="cpu")


def test_a_file_of_other_weights_is_refused(tmp_path: Path, tiny_clip_model: Clip) -> None:
    torch.save({"visual.conv1.weight": torch.ones(3)}, tmp_path / "w.pt")
    spec = parse_image_encoder(f"open_clip:tiny-test-clip/{tmp_path}/w.pt")
    with pytest.raises(DataError, match=r"w\.pt: not the weights of tiny-test-clip"):
        load_image_encoder(spec, device="cpu")


def test_weights_that_cannot_be_fetched_are_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for named, instead in (
        ("ViT-B-16/laion400m_e31", "ViT-B-16"),
        ("RN50/cc12m", "RN50-quickgelu"),
    ):
        spec = parse_image_encoder(f"open_clip:{named}")
        with pytest.raises(DataError, match=f"name the file: open_clip:{instead}/FILE"):
            load_image_encoder(spec, device="cpu")


def test_local_weights_are_fed_as_the_published_ones_are() -> None:
    """open_clip knows a SigLIP's preprocessing by its tag only; a file must not get CLIP's."""
    open_clip = library("open_clip")
    spec = EncoderSpec(
        modality="image",
        kind="open_clip",
        model="ViT-B-16-SigLIP",
        weights=None,
        path=Path("weights.safetensors"),
    )
    assert _published_preprocessing(open_clip, spec) == {
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
        "image_interpolation": "bicubic",
        "image_resize_mode": "squash",
    }
    assert _published_preprocessing(open_clip, replace(spec, path=None, weights="webli")) == {}
