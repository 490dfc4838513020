"""Batches of pictures and texts through an encoder, on all cores, in bounded memory.

On a CPU every worker thread takes a batch through all of its steps and computes with one torch
thread: decoding overlaps encoding, no core waits for another, and a result depends on its batch
only, never on the number of threads. With an accelerator the workers decode and the caller's thread
encodes.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from features.encoders import ImageEncoder, TextEncoder
from features.images import ImageFault, decode_image, read_image

if TYPE_CHECKING:
    from torch import Tensor

_Given = TypeVar("_Given")
_Done = TypeVar("_Done")
_AHEAD = 2  # batches that are ready while the caller stores one
TOKENS_A_BATCH = 1024
TEXTS_A_BATCH = 128


@dataclass(frozen=True, slots=True)
class Encoded:
    """One batch. rows: float32 [kept, dim], not normalised. kept: their positions in the batch.

    faults: position -> (kind, detail). animated: positions whose first frame was taken.
    digests: position -> sha256 (32 bytes) of the bytes that were read; pictures only.
    """

    index: int
    rows: NDArray[np.float32]
    kept: list[int]
    faults: dict[int, tuple[str, str]] = field(default_factory=dict)
    animated: list[int] = field(default_factory=list)
    digests: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Decoded:
    """A batch of pictures before encoding: tensors [3, height, width] of the positions `kept`."""

    prepared: list[Tensor] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    faults: dict[int, tuple[str, str]] = field(default_factory=dict)
    animated: list[int] = field(default_factory=list)
    digests: dict[int, bytes] = field(default_factory=dict)


def encode_images(
    encoder: ImageEncoder, batches: Iterable[tuple[int, Sequence[Path]]], *, threads: int
) -> Iterator[Encoded]:
    """Every batch (its number, its files), in whatever order they are done.

    A file that cannot be used is a fault of its position, and the rest of its batch is encoded.
    """
    if encoder.device == "cpu":
        yield from _through(partial(_encode_files, encoder), batches, threads)
        return
    for index, decoded in _through(partial(_decode_files, encoder), batches, threads):
        yield _encode_decoded(encoder, index, decoded)


def encode_texts(
    encoder: TextEncoder, batches: Iterable[tuple[int, Sequence[str]]], *, threads: int
) -> Iterator[Encoded]:
    """Every batch (its number, its texts), in whatever order they are done."""
    workers = threads if encoder.device == "cpu" else 1
    return _through(partial(_encode_some_texts, encoder), batches, workers)


def text_batches(lengths: Sequence[int] | NDArray[np.int64]) -> list[slice]:
    """Batches of texts that are in ascending order of length (tokens).

    A batch, padded to its longest text, has at most TOKENS_A_BATCH tokens, or is one text.
    """
    batches = []
    start = 0
    for end, length in enumerate(lengths):
        count = end - start + 1
        if count > 1 and (count * length > TOKENS_A_BATCH or count > TEXTS_A_BATCH):
            batches.append(slice(start, end))
            start = end
    if start < len(lengths):
        batches.append(slice(start, len(lengths)))
    return batches


def _encode_files(encoder: ImageEncoder, index: int, paths: Sequence[Path]) -> Encoded:
    return _encode_decoded(encoder, *_decode_files(encoder, index, paths))


def _decode_files(encoder: ImageEncoder, index: int, paths: Sequence[Path]) -> tuple[int, _Decoded]:
    decoded = _Decoded()
    for position, path in enumerate(paths):
        try:
            content = read_image(path)
            decoded.digests[position] = hashlib.sha256(content).digest()
            image = decode_image(content)
        except ImageFault as fault:
            decoded.faults[position] = (fault.kind, fault.detail)
            continue
        decoded.prepared.append(encoder.prepare(image))
        decoded.kept.append(position)
        if image.info.get("animated"):
            decoded.animated.append(position)
    return index, decoded


def _encode_decoded(encoder: ImageEncoder, index: int, decoded: _Decoded) -> Encoded:
    rows = encoder.encode(decoded.prepared)
    rows, kept, faults = _sound(rows, decoded.kept, decoded.faults)
    return Encoded(index, rows, kept, faults, decoded.animated, decoded.digests)


def _encode_some_texts(encoder: TextEncoder, index: int, texts: Sequence[str]) -> Encoded:
    return Encoded(index, *_sound(encoder.encode(texts), list(range(len(texts))), {}))


def _sound(
    rows: NDArray[np.float32], kept: list[int], faults: dict[int, tuple[str, str]]
) -> tuple[NDArray[np.float32], list[int], dict[int, tuple[str, str]]]:
    """Without the rows that say nothing: those are faults."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    good = np.isfinite(norms) & (norms > 0)
    bad = {
        kept[row]: ("no features", f"a row of length {norms[row]}") for row in np.where(~good)[0]
    }
    return rows[good], [kept[row] for row in np.where(good)[0]], {**faults, **bad}


def _through(
    work: Callable[[int, _Given], _Done], batches: Iterable[tuple[int, _Given]], threads: int
) -> Iterator[_Done]:
    """`work` on every batch, `threads` at once and few ahead; batches are drawn by the caller."""
    import torch

    before = torch.get_num_threads()
    waiting = iter(batches)
    pool = ThreadPoolExecutor(threads, "encoder", partial(torch.set_num_threads, 1))
    running: set[Future[_Done]] = set()
    try:
        done: deque[Future[_Done]] = deque()
        while True:
            while len(running) + len(done) < threads + _AHEAD:
                batch = next(waiting, None)
                if batch is None:
                    break
                running.add(pool.submit(work, *batch))
            if not running and not done:
                return
            if not done:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                done.extend(finished)
            yield done.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)  # the number is per thread, but new threads start from it
