"""Batch norms folded into the convolutions before them: the same numbers, fewer passes.

A trained batch norm is a multiplication and an addition per channel, and the convolution before it
can do both. Which convolution feeds which norm is seen in one forward pass, so it works whatever
the layers are called; that the result is the same is checked, not assumed.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_AGREEMENT = 1e-4


def folded(model: nn.Module, example: Tensor) -> nn.Module:
    """A copy of `model` without the batch norms that directly follow a convolution.

    example: an input [batch, 3, height, width]. `model` itself is returned where nothing can be
    folded, or where the outputs would differ by more than rounding.
    """
    pairs = _pairs(model, example)
    if not pairs:
        return model
    candidate = copy.deepcopy(model)
    for convolution, norm in pairs:
        _fold(candidate, convolution, norm)
    with torch.inference_mode():
        before, after = model(example), candidate(example)
    close = torch.allclose(before, after, rtol=_AGREEMENT, atol=_AGREEMENT * before.abs().max())
    return candidate if close else model


def _pairs(model: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Names of (convolution, norm) where the norm got exactly what the convolution gave.

    Both are used once in the pass.
    """
    calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def watch(name: str) -> Any:
        def remember(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            calls.append((name, module, given[0], out))

        return remember

    layers = [(name, part) for name, part in model.named_modules() if _foldable(part)]
    hooks = [part.register_forward_hook(watch(name)) for name, part in layers]
    try:
        with torch.inference_mode():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    names = [name for name, *_ in calls]
    made_by = {
        id(out): name
        for name, part, _, out in calls
        if isinstance(part, nn.Conv2d) and names.count(name) == 1
    }
    return [
        (made_by[id(given)], name)
        for name, part, given, _ in calls
        if isinstance(part, nn.BatchNorm2d) and id(given) in made_by and names.count(name) == 1
    ]


def _foldable(part: nn.Module) -> bool:
    if isinstance(part, nn.BatchNorm2d):
        return part.track_running_stats
    return isinstance(part, nn.Conv2d)


def _fold(model: nn.Module, convolution: str, norm: str) -> None:
    layer: Any = model.get_submodule(convolution)
    scale: Any = model.get_submodule(norm)
    layer.weight, layer.bias = fuse_conv_bn_weights(
        layer.weight,
        layer.bias,
        scale.running_mean,
        scale.running_var,
        scale.eps,
        scale.weight,
        scale.bias,
    )
    parent, _, child = norm.rpartition(".")
    setattr(model.get_submodule(parent), child, _what_is_left(scale))


def _what_is_left(norm: nn.Module) -> nn.Module:
    """timm's norms carry a dropout and an activation; torch's carry nothing."""
    carried = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    left = [part for part in carried if not isinstance(part, nn.Identity)]
    return nn.Sequential(*left)
