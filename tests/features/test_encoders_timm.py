"""timm models: their own preprocessing, pooled features, local weights loaded strictly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from features.encoders import ImageEncoder, load_image_encoder
from features.images import decode_image
from features.libraries import library
from features.specs import parse_image_encoder
from fedrec.errors import ConfigError, DataError

SMALL = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, its classifier included, as timm would save it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "small.safetensors"
    save_file(library("timm").create_model(SMALL).state_dict(), path)
    return path


def cosines(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return (found * expected).sum(1) / lengths


def test_features_agree_with_timm_called_by_hand(
    small_weights: Path, photographs: list[Path]
) -> None:
    timm = library("timm")
    model = timm.create_model(SMALL, checkpoint_path=str(small_weights), num_classes=1000).eval()
    model.reset_classifier(0)
    transform = timm.data.create_transform(
        **timm.data.resolve_model_data_config(model), is_training=False
    )
    pictures = [Image.open(path).convert("RGB") for path in photographs]
    with torch.inference_mode():
        expected = model(torch.stack([transform(picture) for picture in pictures])).numpy()
    encoder = load_image_encoder(parse_image_encoder(f"timm:{SMALL}/{small_weights}"), device="cpu")
    prepared = [encoder.prepare(decode_image(path.read_bytes())) for path in photographs]
    found = encoder.encode(prepared)
    assert found.shape == (10, encoder.dim) and found.dtype == np.float32
    assert cosines(found, expected).min() >= 0.9999
    assert np.array_equal(found, encoder.encode(prepared))
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_real_weights_tell_pictures_apart_and_small_changes_not(
    efficientnet: ImageEncoder, photographs: list[Path]
) -> None:
    images = [decode_image(path.read_bytes()) for path in photographs[:4]]
    brighter = [image.point(lambda value: min(255, value + 4)) for image in images]
    found = efficientnet.encode([efficientnet.prepare(image) for image in images + brighter])
    similar = cosines(found[:4], found[4:])
    assert similar.min() > 0.95
    assert cosines(found[:3], found[1:4]).max() < similar.min()


def test_an_encoder_tells_what_made_its_numbers(
    efficientnet: ImageEncoder, efficientnet_file: Path
) -> None:
    spec = parse_image_encoder(f"timm:tf_efficientnet_lite0/{efficientnet_file}")
    assert efficientnet.weights_sha256 == spec.weights_sha256()
    assert "Resize(size=256" in efficientnet.preprocessing
    assert {"timm", "torch", "pillow"} <= efficientnet.versions.keys()
    assert (efficientnet.dim, efficientnet.device) == (1280, "cpu")


def test_an_unknown_model_is_refused_with_similar_names() -> None:
    with pytest.raises(ConfigError, match=r"has no model 'resnet81'; similar: .*resnet18"):
        load_image_encoder(parse_image_encoder("timm:resnet81"), device="cpu")


def test_weights_of_another_model_are_refused(small_weights: Path) -> None:
    spec = parse_image_encoder(f"timm:resnet18/{small_weights}")
    with pytest.raises(DataError, match="not the weights of resnet18"):
        load_image_encoder(spec, device="cpu")


def test_weights_that_cannot_be_fetched_are_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=f"name the file: timm:{SMALL}/FILE"):
        load_image_encoder(parse_image_encoder(f"timm:{SMALL}"), device="cpu")
