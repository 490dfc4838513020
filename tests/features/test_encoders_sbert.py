"""Sentence embeddings against sentence-transformers called by hand, with real weights."""

from pathlib import Path

import numpy as np
import pytest

from features.encoders import TextEncoder, load_text_encoder
from features.libraries import library
from features.specs import parse_text_encoder
from fedrec.errors import DataError

TEXTS = [
    "Toy Story (1995). Adventure, Animation, Children.",
    "Heat (1995). Action, Crime, Thriller.",
    "Finding Nemo (2003). Adventure, Animation, Children.",
    "naïve 漢字 \N{GRINNING FACE}",
    "https://example.com/poster.jpg",
    "",
    "word " * 400,
]


def test_texts_of_any_kind_agree_with_the_library_called_by_hand(
    sbert: TextEncoder, sbert_folder: Path
) -> None:
    by_hand = library("sentence_transformers").SentenceTransformer(str(sbert_folder), device="cpu")
    found = sbert.encode(TEXTS)
    assert found.shape == (7, 384) and found.dtype == np.float32
    assert (found * by_hand.encode(TEXTS)).sum(1).min() >= 0.9999
    assert found[0] @ found[2] > found[0] @ found[1] + 0.1


def test_lengths_are_in_tokens_and_cut_as_the_model_says(sbert: TextEncoder) -> None:
    assert sbert.lengths(["a", "", "one two three", "word " * 400]).tolist() == [3, 2, 5, 256]


def test_an_encoder_tells_what_made_its_numbers(sbert: TextEncoder, sbert_folder: Path) -> None:
    spec = parse_text_encoder(f"sbert:{sbert_folder}")
    assert sbert.weights_sha256 == spec.weights_sha256()
    assert sbert.preprocessing == "the model's own tokenizer, cut to 256 tokens"
    assert {"sentence-transformers", "transformers", "torch"} <= sbert.versions.keys()


def test_what_cannot_be_loaded_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for text in ("sbert:all-MiniLM-L6-v2", f"sbert:{tmp_path}"):
        with pytest.raises(DataError, match="name it: sbert:FOLDER"):
            load_text_encoder(parse_text_encoder(text), device="cpu")
