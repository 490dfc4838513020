"""Names of encoders: what they mean, what they are called everywhere, what is refused."""

import hashlib
from pathlib import Path

import pytest

from features.specs import (
    DEFAULT_IMAGE_ENCODER,
    DEFAULT_TEXT_ENCODER,
    parse_image_encoder,
    parse_text_encoder,
)
from fedrec.errors import ConfigError, DataError


def test_the_defaults_are_published_models() -> None:
    image = parse_image_encoder(DEFAULT_IMAGE_ENCODER)
    assert (image.kind, image.model, image.weights) == ("open_clip", "ViT-B-32", "openai")
    assert (image.name, image.slug) == ("open_clip:ViT-B-32/openai", "ViT-B-32-openai")
    text = parse_text_encoder(DEFAULT_TEXT_ENCODER)
    assert (text.modality, text.name, text.slug) == (
        "text",
        "sbert:all-MiniLM-L6-v2",
        "all-MiniLM-L6-v2",
    )
    assert image.weights_sha256() is None and text.weights_sha256() is None


def test_what_stands_before_the_first_slash_is_the_model_and_the_path_may_have_more(
    tmp_path: Path,
) -> None:
    file = tmp_path / "deep" / "my weights.pth"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    spec = parse_image_encoder(f"timm:resnet18/{file}")
    assert (spec.model, spec.path, spec.weights) == ("resnet18", file, None)
    assert spec.name == "timm:resnet18/my weights.pth"
    assert spec.slug == "resnet18-my-weights"
    assert spec.weights_sha256() == hashlib.sha256(b"weights").hexdigest()


def test_a_relative_file_is_found_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    spec = parse_text_encoder("open_clip:ViT-B-32/a.safetensors")
    assert (spec.modality, spec.path) == ("text", tmp_path / "a.safetensors")


def test_a_hub_name_with_its_owner_is_no_folder() -> None:
    spec = parse_text_encoder("sbert:sentence-transformers/all-mpnet-base-v2")
    assert spec.path is None
    assert spec.slug == "sentence-transformers-all-mpnet-base-v2"


def test_the_checksum_of_a_folder_follows_names_and_contents_but_not_its_card_or_place(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a" / "model", tmp_path / "b" / "model"
    for folder in (first, second):
        (folder / "1_Pooling").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"12")
        (folder / "1_Pooling" / "config.json").write_text("{}")
    (second / "README.md").write_text("a card")
    specs = [parse_text_encoder(f"sbert:{folder}/") for folder in (first, second)]
    assert specs[0].name == specs[1].name == "sbert:model"
    before = specs[0].weights_sha256()
    assert before == specs[1].weights_sha256()
    (second / "1_Pooling" / "config.json").write_text('{"cls": true}')
    assert specs[1].weights_sha256() != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "open_clip:MODEL/PRETRAINED or open_clip:MODEL/FILE, timm:MODEL"),
        ("ViT-B-32", "expected open_clip"),
        ("sbert:all-MiniLM-L6-v2", "expected open_clip"),
        ("open_clip:", "expected open_clip"),
        ("open_clip:ViT-B-32", "names no weights"),
        ("open_clip:ViT-B-32/absent.pt", "there is no file absent.pt"),
        ("open_clip:ViT-B-32//nowhere/weights", "there is no file /nowhere/weights"),
        ("timm:resnet18/a1_in1k", "there is no file a1_in1k"),
    ],
)
def test_an_image_encoder_that_cannot_be_is_refused_with_what_is_allowed(
    text: str, said: str
) -> None:
    with pytest.raises(ConfigError, match="encoder") as refused:
        parse_image_encoder(text)
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["timm:resnet18", "sbert:./absent", "sbert:/absent", "sbert:"])
def test_a_text_encoder_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="text encoder"):
        parse_text_encoder(text)


def test_a_folder_without_a_model_is_refused_when_its_checksum_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no model"):
        parse_text_encoder(f"sbert:{tmp_path}").weights_sha256()
