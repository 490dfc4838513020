"""`import torchvision` beside a torch that its compiled operators were not built for.

torchvision's binaries belong to one build of torch. Beside another one (the CPU build of torch with
torchvision from PyPI, say) its library does not load, and its import ends in "operator
torchvision::nms does not exist", though decoding and resizing pictures needs none of its operators.
open_clip, timm and sentence-transformers import it and fail with it. Declaring the two operators
that the import asks for is enough; nobody here calls them, and they stay without a kernel.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

_DECLARED = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[object] = []  # an operator lives as long as the library object that declared it


def ensure_torchvision() -> bool:
    """Import torchvision; where only its operators are missing, declare them and import again.

    Returns whether anything was declared: never where torchvision works or is not installed. Its
    own import decides, so nothing is guessed. Other failures are raised as they are.
    """
    if "torchvision" in sys.modules or find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    else:
        return False
    _forget_the_attempt()
    _declare()
    importlib.import_module("torchvision")
    return True


def _declare() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    _kept.append(library)
    for schema in _DECLARED:
        library.define(schema)  # type: ignore[no-untyped-call]


def _forget_the_attempt() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
