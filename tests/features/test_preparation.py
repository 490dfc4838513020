"""A library's transform, split into picture steps and batch steps."""

from pathlib import Path

import torch
from PIL import Image

from features.libraries import library
from features.preparation import Preparation


def test_splitting_the_transform_changes_no_bit(photographs: list[Path]) -> None:
    timm = library("timm")
    transform = timm.data.create_transform(96, interpolation="bicubic", is_training=False)
    pictures = [Image.open(path).convert("RGB") for path in photographs]
    split = Preparation(transform)
    prepared = [split.picture(picture) for picture in pictures]
    assert prepared[0].dtype == torch.uint8
    expected = torch.stack([transform(picture) for picture in pictures])
    assert torch.equal(split.batch(prepared, "cpu"), expected)


def test_a_transform_of_another_form_is_applied_whole(photographs: list[Path]) -> None:
    from torchvision.transforms import CenterCrop, Compose, ToTensor

    transform = Compose([CenterCrop(48), ToTensor(), torch.log1p])
    picture = Image.open(photographs[0]).convert("RGB")
    whole = Preparation(transform)
    assert torch.equal(whole.batch([whole.picture(picture)], "cpu")[0], transform(picture))


def test_the_words_name_every_step_and_how_pictures_are_decoded() -> None:
    from torchvision.transforms import CenterCrop, Compose, Normalize, ToTensor

    words = Preparation(Compose([CenterCrop(48), ToTensor(), Normalize(0.5, 0.25)])).words
    assert words == (
        "first frame, EXIF rotation, transparency on white; CenterCrop(size=(48, 48)); ToTensor(); "
        "Normalize(mean=0.5, std=0.25)"
    )
