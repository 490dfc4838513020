"""What an encoder offers, and which library a spec calls for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from features.encoders_open_clip import load_open_clip_images, load_open_clip_texts
from features.encoders_sbert import load_sbert
from features.encoders_timm import load_timm
from features.libraries import device_named
from features.specs import EncoderSpec

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class ImageEncoder(Protocol):
    """Pictures to vectors.

    dim: width of a row. preprocessing: what is done to a picture, in words. weights_sha256: of the
    local file, else of the loaded weights. versions: of the libraries that matter. device: where
    it computes. batch_size: how many pictures a batch should have there.
    """

    dim: int
    preprocessing: str
    weights_sha256: str
    versions: dict[str, str]
    device: str
    batch_size: int

    def prepare(self, image: Image) -> Tensor:
        """An RGB picture as a tensor [3, height, width]. Called in several threads at once."""

    def encode(self, prepared: Sequence[Tensor]) -> NDArray[np.float32]:
        """float32 [batch, dim], not normalised. Called in several threads at once on a CPU."""


class TextEncoder(Protocol):
    """Texts to vectors; the fields are those of ImageEncoder."""

    dim: int
    preprocessing: str
    weights_sha256: str
    versions: dict[str, str]
    device: str

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """int64 [batch]: how many tokens each text is encoded with, special ones included."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [batch, dim], not normalised. Called in several threads at once on a CPU."""


def load_image_encoder(spec: EncoderSpec, *, device: str) -> ImageEncoder:
    """The image encoder of `spec` with its weights, on `device` (auto, cpu, cuda, cuda:1).

    Raises ConfigError where the library or the device is missing or the library does not know the
    model, DataError where the weights cannot be had or do not fit.
    """
    where = device_named(device)
    if spec.kind == "timm":
        return load_timm(spec, device=where)
    return load_open_clip_images(spec, device=where)


def load_text_encoder(spec: EncoderSpec, *, device: str) -> TextEncoder:
    """The text encoder of `spec`; errors as for load_image_encoder."""
    where = device_named(device)
    if spec.kind == "sbert":
        return load_sbert(spec, device=where)
    return load_open_clip_texts(spec, device=where)
