"""Pictures through one network: what the encoders of every library share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from features.folding import folded
from features.preparation import Preparation
from fedrec.errors import ConfigError

_CPU_BATCH, _CUDA_BATCH = 16, 128
_CONVOLUTIONAL_PART = 4  # activations of more pictures leave the processor's caches: 1.2 x slower


class PictureEncoder:
    """An ImageEncoder around a network that maps [batch, 3, height, width] to [batch, dim].

    On a CPU it computes in float32, four pictures at a time for a convolutional network; on CUDA in
    float16 where torch's autocast allows it, and again in float32 where that overflows.
    """

    def __init__(
        self,
        network: nn.Module,
        transform: Any,
        *,
        device: str,
        weights_sha256: str,
        versions: dict[str, str],
    ) -> None:
        self._preparation = Preparation(transform)
        self.preprocessing = self._preparation.words
        self.weights_sha256 = weights_sha256
        self.versions = versions
        self.device = device
        self.batch_size = _CPU_BATCH if device == "cpu" else _CUDA_BATCH
        self._network = self._fast(network.eval().requires_grad_(False))
        self._part = self._part_size(network)
        self.dim = self._measured_dim()

    def prepare(self, image: Image.Image) -> Tensor:
        """uint8 [3, height, width]: resized and cropped."""
        return self._preparation.picture(image)

    def encode(self, prepared: Sequence[Tensor]) -> NDArray[np.float32]:
        """float32 [batch, dim], not normalised."""
        if not prepared:
            return np.zeros((0, self.dim), dtype=np.float32)
        parts = [
            self._encode_part(prepared[start : start + self._part])
            for start in range(0, len(prepared), self._part)
        ]
        return np.concatenate(parts)

    def _encode_part(self, prepared: Sequence[Tensor]) -> NDArray[np.float32]:
        with torch.inference_mode():
            pictures = self._preparation.batch(prepared, self.device)  # [part, 3, height, width]
            with self._half():
                rows = self._network(pictures)  # [part, dim]
            if self.device != "cpu" and not torch.isfinite(rows).all():
                rows = self._network(pictures)
            encoded: NDArray[np.float32] = rows.float().cpu().numpy()
        return encoded

    def _half(self) -> AbstractContextManager[object]:
        if self.device == "cpu":
            return nullcontext()  # bfloat16 is 2 x faster, but its cosine is .9997 only
        return torch.autocast("cuda", dtype=torch.float16)

    def _fast(self, network: nn.Module) -> nn.Module:
        blank = self._preparation.picture(Image.new("RGB", (64, 64), "gray"))
        example = self._preparation.batch([blank], "cpu")
        compact: nn.Module = folded(network, example).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return compact.to(self.device)

    def _part_size(self, network: nn.Module) -> int:
        convolutions = sum(isinstance(part, nn.Conv2d) for part in network.modules())
        return _CONVOLUTIONAL_PART if self.device == "cpu" and convolutions > 1 else 1 << 20

    def _measured_dim(self) -> int:
        rows = self._encode_part([self.prepare(Image.new("RGB", (64, 64)))])
        if rows.ndim != 2:
            raise ConfigError(
                f"the model gives {list(rows.shape)} for one picture, expected [1, dim]"
            )
        return int(rows.shape[1])
