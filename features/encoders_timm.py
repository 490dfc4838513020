"""Pooled features of a timm model, preprocessed as its own data config says."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from features.efficientnet_lite import is_lite, timm_names
from features.hub import expect_hub_or_cache
from features.libraries import library, versions_of
from features.specs import EncoderSpec
from features.weights import digest_weights, read_weights
from fedrec.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    from features.picture_encoder import PictureEncoder


def load_timm(spec: EncoderSpec, *, device: str) -> PictureEncoder:
    """The model of `spec` without its classifier. Errors as for load_image_encoder."""
    if spec.path is None:
        expect_hub_or_cache()
    timm = library("timm")
    from features.picture_encoder import PictureEncoder

    if not timm.is_model(spec.model):
        close = difflib.get_close_matches(spec.model, timm.list_models(), n=3)
        raise ConfigError(f"{spec.name}: timm has no model {spec.model!r}; similar: {close}")
    model = _published(timm, spec) if spec.path is None else _local(timm, spec, spec.path)
    config = timm.data.resolve_model_data_config(model)
    return PictureEncoder(
        model,
        timm.data.create_transform(**config, is_training=False),
        device=device,
        weights_sha256=spec.weights_sha256() or digest_weights(model.state_dict()),
        versions=versions_of("pillow", "timm", "torch", "torchvision"),
    )


def _published(timm: Any, spec: EncoderSpec) -> Any:
    try:
        return timm.create_model(spec.model, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{spec.name}: the pretrained weights cannot be had ({error}); fetch them on another "
            f"machine and name the file: timm:{spec.model}/FILE.safetensors"
        ) from error


def _local(timm: Any, spec: EncoderSpec, path: Path) -> Any:
    model = timm.create_model(spec.model, pretrained=False, num_classes=0)
    weights = read_weights(path)
    if is_lite(weights):
        weights = timm_names(weights, model.state_dict())
    weights = _without_classifier(weights, model.pretrained_cfg.get("classifier"))
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise DataError(f"{path}: not the weights of {spec.model} ({error})") from error
    return model


def _without_classifier(weights: dict[str, Any], classifier: Any) -> dict[str, Any]:
    """What timm calls the classifier is built without (num_classes=0)."""
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    heads = tuple(f"{name}." for name in names)
    return {name: tensor for name, tensor in weights.items() if not name.startswith(heads)}
