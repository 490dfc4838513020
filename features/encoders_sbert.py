"""Sentence embeddings by sentence-transformers, pooled as the model's own config says."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.hub import expect_hub_or_cache
from features.libraries import library, versions_of
from features.specs import EncoderSpec
from features.weights import digest_weights
from fedrec.errors import DataError

_LENGTHS_AT_ONCE = 256


def load_sbert(spec: EncoderSpec, *, device: str) -> SbertTexts:
    """The model of `spec`. Errors as for load_text_encoder."""
    if spec.path is None:
        expect_hub_or_cache()
    sentence_transformers = library("sentence_transformers")
    named = str(spec.path) if spec.path else spec.model
    try:
        model = sentence_transformers.SentenceTransformer(
            named, device=device, trust_remote_code=False
        )
    except Exception as error:  # a hub's client raises what it likes
        reason = " ".join(str(error).split())
        raise DataError(
            f"{spec.name}: {named} cannot be loaded ({reason}); without a network, fetch the "
            "model's folder on another machine and name it: sbert:FOLDER"
        ) from error
    weights = spec.weights_sha256() or digest_weights(model.state_dict())
    return SbertTexts(model, device=device, weights_sha256=weights)


class SbertTexts:
    """A TextEncoder around a SentenceTransformer."""

    def __init__(self, model: Any, *, device: str, weights_sha256: str) -> None:
        self._model = model.eval().requires_grad_(False)
        # called `tokenize` in early versions of sentence-transformers 5
        self._tokens: Any = getattr(model, "preprocess", None) or model.tokenize
        self.device = device
        self.weights_sha256 = weights_sha256
        self.versions = versions_of("sentence-transformers", "tokenizers", "torch", "transformers")
        self.preprocessing = f"the model's own tokenizer, cut to {model.max_seq_length} tokens"
        self.dim = int(self.encode(["a"]).shape[1])

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """int64 [batch]: tokens of each text, special ones included."""
        found = np.zeros(len(texts), dtype=np.int64)
        for start in range(0, len(texts), _LENGTHS_AT_ONCE):
            part = slice(start, start + _LENGTHS_AT_ONCE)
            tokens = self._tokens(list(texts[part]))
            found[part] = tokens["attention_mask"].sum(dim=1).numpy()
        return found

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [batch, dim]: normalised only if the model itself does so."""
        with self._half():
            rows = self._model.encode(
                list(texts),
                batch_size=max(1, len(texts)),
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        return np.asarray(rows, dtype=np.float32)

    def _half(self) -> AbstractContextManager[object]:
        import torch

        if self.device == "cpu":
            return nullcontext()
        return torch.autocast("cuda", dtype=torch.float16)
