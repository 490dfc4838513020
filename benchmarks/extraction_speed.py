"""Texts and pictures a second, and how far the rows agree, against the libraries called by hand."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.encoders import ImageEncoder, TextEncoder, load_image_encoder, load_text_encoder
from features.libraries import library
from features.pipeline import Encoded, encode_images, encode_texts, text_batches
from features.specs import parse_image_encoder, parse_text_encoder

Rows = NDArray[np.float32]
ByHand = Callable[[Sequence[Any], int], Rows]
TRIED = {"texts": (8, 16, 32, 64, 128), "images": (1, 2, 4, 8, 16, 32)}
COMPARED = 200


def text_speed(texts: list[str], folder: Path, rounds: int, threads: int) -> dict[str, Any]:
    """This package against `SentenceTransformer.encode` with its best batch size."""
    encoder = load_text_encoder(parse_text_encoder(f"sbert:{folder}"), device="cpu")
    model = library("sentence_transformers").SentenceTransformer(str(folder), device="cpu")

    def by_hand(part: Sequence[str], batch_size: int) -> Rows:
        rows: Rows = model.encode(list(part), batch_size=batch_size, show_progress_bar=False)
        return rows

    def ours(part: Sequence[str]) -> Rows:
        return encode_all_texts(encoder, part, threads)

    return race("texts", texts, ours, by_hand, rounds)


def image_speed(files: list[Path], weights: Path, rounds: int, threads: int) -> dict[str, Any]:
    """This package against a plain loop over the same network with its best batch size."""
    spec = parse_image_encoder(f"timm:tf_efficientnet_lite0/{weights}")
    encoder = load_image_encoder(spec, device="cpu")
    by_hand = plain_loop(weights)

    def ours(part: Sequence[Path]) -> Rows:
        return encode_all_files(encoder, part, threads)

    return race("images", files, ours, by_hand, rounds)


def encode_all_texts(encoder: TextEncoder, texts: Sequence[str], threads: int) -> Rows:
    """float32 [texts, dim]: sorted by length, as `fedrec extract` does."""
    lengths = encoder.lengths(texts)
    order = np.argsort(lengths, kind="stable")
    batches = [order[part] for part in text_batches(lengths[order])]
    given = ((index, [texts[at] for at in batch]) for index, batch in enumerate(batches))
    return collected(encode_texts(encoder, given, threads=threads), batches, encoder.dim)


def encode_all_files(encoder: ImageEncoder, files: Sequence[Path], threads: int) -> Rows:
    """float32 [files, dim]"""
    every = np.arange(len(files))
    batches = [every[at : at + encoder.batch_size] for at in every[:: encoder.batch_size]]
    given = ((index, [files[at] for at in batch]) for index, batch in enumerate(batches))
    return collected(encode_images(encoder, given, threads=threads), batches, encoder.dim)


def collected(
    results: Iterable[Encoded], batches: list[NDArray[np.int64]], dim: int
) -> NDArray[np.float32]:
    rows = np.zeros((sum(map(len, batches)), dim), dtype=np.float32)
    for result in results:
        if result.faults:
            raise RuntimeError(f"batch {result.index}: {result.faults}")
        rows[batches[result.index]] = result.rows
    return rows


def plain_loop(weights: Path) -> ByHand:
    """What one writes by hand: decode a batch, encode it, with torch's own number of threads."""
    import torch
    from PIL import Image

    from features.efficientnet_lite import timm_names
    from features.weights import read_weights

    timm = library("timm")
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(timm_names(read_weights(weights), model.state_dict()))
    model.reset_classifier(0)
    model.eval()
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)

    def encode(files: Sequence[Path], batch_size: int) -> Rows:
        parts = []
        with torch.inference_mode():
            for at in range(0, len(files), batch_size):
                batch = files[at : at + batch_size]
                pictures = [transform(Image.open(file).convert("RGB")) for file in batch]
                parts.append(model(torch.stack(pictures)).numpy())
        return np.concatenate(parts)

    return encode


def race(
    what: str,
    things: Sequence[Any],
    ours: Callable[[Sequence[Any]], Rows],
    by_hand: ByHand,
    rounds: int,
) -> dict[str, Any]:
    """Both in turn, `rounds` times over all `things`; by hand with the best of several sizes."""
    chosen = random.Random(0).sample(range(len(things)), min(COMPARED, len(things)))
    sample = [things[at] for at in chosen]
    ours(sample[:32])
    by_hand(sample[:32], 8)
    tried = {size: best_rate(by_hand, sample, size, rounds) for size in TRIED[what]}
    best = max(tried, key=lambda size: tried[size])
    pairs = []
    for _ in range(rounds):
        theirs = rate(lambda: by_hand(things, best))
        pairs.append((rate(lambda: ours(things)), theirs))
    return {
        "what": what,
        "count": len(things),
        "ours_per_s": [mine for mine, _ in pairs],
        "by_hand_per_s": [theirs for _, theirs in pairs],
        "ratios": [mine / theirs for mine, theirs in pairs],
        "by_hand_batch_size": best,
        "by_hand_tried_per_s": tried,
        "compared": len(sample),
        "least_cosine": least_cosine(ours(sample), by_hand(sample, best)),
    }


def best_rate(by_hand: ByHand, sample: Sequence[Any], size: int, rounds: int) -> float:
    """Of two tries on the sample; of one on a part of it where there are few rounds."""
    tries, part = (2, sample) if rounds > 1 else (1, sample[:32])
    return max(rate(lambda: by_hand(part, size)) for _ in range(tries))


def rate(work: Callable[[], Rows]) -> float:
    """Rows a second."""
    began = time.perf_counter()
    rows = work()
    return len(rows) / (time.perf_counter() - began)


def least_cosine(found: Rows, expected: Rows) -> float:
    """The least cosine of corresponding rows."""
    dot = (found.astype(np.float64) * expected).sum(axis=1)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float((dot / lengths).min())
