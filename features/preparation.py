"""A library's own picture transform, split where a picture becomes numbers.

Resizing and cropping are done picture by picture in the decoding threads and give bytes; dividing
and normalising are done on the whole batch, with the same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

DECODING = "first frame, EXIF rotation, transparency on white"


class Preparation:
    """The steps of a torchvision `Compose`, for one picture and for a batch.

    words: all steps, decoding included. A transform that is not "picture steps, to tensor,
    normalise" is applied whole, picture by picture.
    """

    def __init__(self, transform: Any) -> None:
        steps = list(getattr(transform, "transforms", [transform]))
        self.words = "; ".join([DECODING, *(_words(step) for step in steps)])
        self._pictures: list[Callable[[Any], Any]] = steps
        self._mean = self._std = None
        names = [type(step).__name__ for step in steps]
        if len(steps) >= 2 and names[-2].endswith("ToTensor") and names[-1] == "Normalize":
            self._pictures = steps[:-2]
            self._mean, self._std = (_column(steps[-1].mean), _column(steps[-1].std))

    def picture(self, image: Image) -> Tensor:
        """uint8 [3, height, width] of an RGB picture; float32 where the transform was not split."""
        prepared: Any = image
        for step in self._pictures:
            prepared = step(prepared)
        if isinstance(prepared, Tensor):
            return prepared
        return torch.from_numpy(np.array(prepared)).permute(2, 0, 1)

    def batch(self, prepared: Sequence[Tensor], device: str) -> Tensor:
        """float32 [batch, 3, height, width] on `device`, channels innermost in memory."""
        inner = torch.stack([picture.permute(1, 2, 0) for picture in prepared])
        pictures = inner.to(device).permute(0, 3, 1, 2)
        if self._mean is None or self._std is None or pictures.dtype != torch.uint8:
            return pictures.float()
        mean, std = self._mean.to(device), self._std.to(device)
        return pictures.float().div_(255).sub_(mean).div_(std)


def _column(values: Any) -> Tensor:
    """float32 [3, 1, 1]"""
    return torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1)


def _words(step: Any) -> str:
    text = " ".join(str(step).split())
    return getattr(step, "__name__", type(step).__name__) if " at 0x" in text else text
