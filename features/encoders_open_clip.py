"""The image tower and the text tower of an open_clip model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.hub import expect_hub_or_cache
from features.libraries import library, versions_of
from features.specs import EncoderSpec
from features.weights import digest_weights
from fedrec.errors import ConfigError, DataError

if TYPE_CHECKING:
    from features.picture_encoder import PictureEncoder

_LIBRARIES = ("open_clip_torch", "torch", "torchvision")

_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


def load_open_clip_images(spec: EncoderSpec, *, device: str) -> PictureEncoder:
    """The image tower of `spec`. Errors as for load_image_encoder."""
    model, transform = _load(spec)
    from features.picture_encoder import PictureEncoder

    weights = _weights_sha256(spec, model)
    return PictureEncoder(
        _image_tower(model),
        transform,
        device=device,
        weights_sha256=weights,
        versions=versions_of("pillow", *_LIBRARIES),
    )


def load_open_clip_texts(spec: EncoderSpec, *, device: str) -> OpenClipTexts:
    """The text tower of `spec`. Errors as for load_text_encoder."""
    model, _ = _load(spec)
    try:
        tokenizer = library("open_clip").get_tokenizer(spec.model)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{spec.name}: its tokenizer cannot be had ({error}); on a machine without a network, "
            "choose a model with open_clip's own tokenizer, such as ViT-B-32"
        ) from error
    return OpenClipTexts(
        model, tokenizer, device=device, weights_sha256=_weights_sha256(spec, model)
    )


class OpenClipTexts:
    """A TextEncoder: texts cut to the model's context length, through the text tower."""

    def __init__(self, model: Any, tokenizer: Any, *, device: str, weights_sha256: str) -> None:
        import torch

        model.visual = torch.nn.Identity()  # not needed here, and often the larger tower
        self._model = model.eval().requires_grad_(False).to(device)
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self.device = device
        self.weights_sha256 = weights_sha256
        self.versions = versions_of(*_LIBRARIES)
        self._context = int(tokenizer([""]).shape[1])
        self.preprocessing = f"open_clip's tokenizer, cut to {self._context} tokens"
        self.dim = int(self.encode([""]).shape[1])

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """int64 [batch]: every text is padded to the whole context."""
        return np.full(len(texts), self._context, dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [batch, dim], not normalised."""
        import torch

        with self._lock:
            tokens = self._tokenizer(list(texts))  # [batch, context]
        with torch.inference_mode():
            rows = self._model.encode_text(tokens.to(self.device))  # [batch, dim]
            encoded: NDArray[np.float32] = rows.float().cpu().numpy()
        return encoded


def _load(spec: EncoderSpec) -> tuple[Any, Any]:
    """The whole model with its weights, and the transform for pictures."""
    if spec.path is None:
        expect_hub_or_cache()
    open_clip = library("open_clip")
    if spec.model not in open_clip.list_models():
        raise ConfigError(
            f"{spec.name}: open_clip has no model {spec.model!r}; "
            f"it has {', '.join(open_clip.list_models())}"
        )
    _check_tag(open_clip, spec)
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            spec.model,
            pretrained=str(spec.path) if spec.path else spec.weights,
            force_quick_gelu=_needs_quick_gelu(open_clip, spec),
            weights_only=True,
            **_published_preprocessing(open_clip, spec),
        )
    except Exception as error:  # a hub's client and a pickle raise what they like
        raise _no_weights(open_clip, spec, error) from error
    return model, transform


def _check_tag(open_clip: Any, spec: EncoderSpec) -> None:
    tags = open_clip.list_pretrained_tags_by_model(spec.model)
    if spec.weights is not None and spec.weights not in tags:
        raise ConfigError(
            f"{spec.name}: {spec.weights!r} is neither a local file nor a pretrained tag of "
            f"{spec.model}; its tags: {', '.join(tags) or 'none'}"
        )


def _published_preprocessing(open_clip: Any, spec: EncoderSpec) -> dict[str, Any]:
    """How pictures are made ready for local weights: as for the model's published ones, where
    these agree. open_clip does so for a tag, but gives a file its general form."""
    if spec.path is None:
        return {}
    tags = open_clip.list_pretrained_tags_by_model(spec.model)
    published = [open_clip.get_pretrained_cfg(spec.model, tag) for tag in tags]
    found = [
        {f"image_{key}": config[key] for key in _PREPROCESSING if config.get(key) is not None}
        for config in published
    ]
    return found[0] if found and all(other == found[0] for other in found) else {}


def _needs_quick_gelu(open_clip: Any, spec: EncoderSpec) -> bool:
    """Whether the tag was trained with the other activation; open_clip itself only warns."""
    if spec.weights is None:
        return False
    config = open_clip.get_pretrained_cfg(spec.model, spec.weights)
    return bool(config.get("quick_gelu", False))


def _no_weights(open_clip: Any, spec: EncoderSpec, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    if spec.path is not None:
        return DataError(f"{spec.path}: not the weights of {spec.model} ({reason})")
    # a file does not tell which activation it was trained with, the model's name does
    model = spec.model + ("-quickgelu" if _needs_quick_gelu(open_clip, spec) else "")
    named = model if model in open_clip.list_models() else spec.model
    return DataError(
        f"{spec.name}: the pretrained weights cannot be had ({reason}); fetch them on another "
        f"machine and name the file: open_clip:{named}/FILE.safetensors"
    )


def _weights_sha256(spec: EncoderSpec, model: Any) -> str:
    return spec.weights_sha256() or digest_weights(model.state_dict())


def _image_tower(model: Any) -> Any:
    """A module that maps pictures [batch, 3, height, width] to [batch, dim] as the model does."""
    import torch

    class ImageTower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            rows: torch.Tensor = self.model.encode_image(pictures)
            return rows

    for name in ("transformer", "text", "token_embedding"):
        if hasattr(model, name):
            setattr(model, name, None)  # the text tower is not needed here
    return ImageTower()
