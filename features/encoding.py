"""Contents through an encoder and into the store, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from features.contents import Contents
from features.job import Job, Means
from features.progress import Progress
from features.segments import DIGEST_BYTES, Batch
from features.specs import EncoderSpec
from features.store import Store
from fedrec.errors import DataError

if TYPE_CHECKING:
    from features.encoders import ImageEncoder, TextEncoder
    from features.pipeline import Encoded

_LABELS = {"image": "encoding pictures", "text": "encoding texts"}

Plan = Sequence[Sequence[bytes]]
"""Batches of digests."""


@dataclass(frozen=True, slots=True)
class Work:
    """What was encoded in this run, and in which time."""

    digests: frozenset[bytes] = frozenset()
    seconds: float = 0.0


def encode_unknown(job: Job, contents: Contents, store: Store, means: Means) -> Work:
    """Encode the contents that no finished file of the store has; its journal has them then.

    No encoder is loaded where the journal has them already. Raises DataError where files change
    meanwhile, or the weights are not those that made the rows in the store or in the folder.
    """
    if _unknown(contents, store) <= store.journalled():
        return Work()
    encoder = _load(job.spec, means.device)
    job.require_weights(encoder.weights_sha256)
    store.claim(
        {
            "modality": job.spec.modality,
            "encoder": job.spec.name,
            "weights_sha256": encoder.weights_sha256,
            "preprocessing": encoder.preprocessing,
            "dim": encoder.dim,
        }
    )
    done: set[int] | None = None
    while done is None:  # a second time where the journal was another plan's
        plan = _plan(encoder, contents, _unknown(contents, store), means.batch_size)
        done = store.resume(_header(encoder, plan))
    return _run(encoder, contents, store, means, plan, done)


def _unknown(contents: Contents, store: Store) -> set[bytes]:
    return {digest for digest in contents.sources if not store.knows(digest)}


def _load(spec: EncoderSpec, device: str) -> ImageEncoder | TextEncoder:
    from features.encoders import load_image_encoder, load_text_encoder

    if spec.modality == "image":
        return load_image_encoder(spec, device=device)
    return load_text_encoder(spec, device=device)


def _plan(
    encoder: ImageEncoder | TextEncoder,
    contents: Contents,
    unknown: set[bytes],
    batch_size: int | None,
) -> Plan:
    """The batches, the same whenever the same contents are unknown.

    Pictures in the order of their digests; texts by length, so that a batch has little padding.
    """
    digests = sorted(unknown)
    if not digests:
        return []
    if _reads_texts(encoder):
        from features.pipeline import text_batches

        texts = [str(contents.sources[digest]) for digest in digests]
        lengths = cast("TextEncoder", encoder).lengths(texts)
        order = np.argsort(lengths, kind="stable")
        digests = [digests[at] for at in order]
        slices = _slices(len(digests), batch_size) if batch_size else text_batches(lengths[order])
    else:
        slices = _slices(len(digests), batch_size or cast("ImageEncoder", encoder).batch_size)
    return [digests[part] for part in slices]


def _reads_texts(encoder: ImageEncoder | TextEncoder) -> bool:
    return hasattr(encoder, "lengths")


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def _header(encoder: ImageEncoder | TextEncoder, plan: Plan) -> dict[str, Any]:
    """What tells this work from other work: another device or library has other last bits."""
    digest = hashlib.sha256(encoder.device.encode())
    for batch in plan:
        digest.update(b"".join(batch) + b"\n")
    return {"dim": encoder.dim, "versions": dict(encoder.versions), "plan": digest.hexdigest()}


def _run(
    encoder: ImageEncoder | TextEncoder,
    contents: Contents,
    store: Store,
    means: Means,
    plan: Plan,
    done: set[int],
) -> Work:
    """Encode the batches of the plan that are not done, each into the journal as it comes."""
    left = {index: batch for index, batch in enumerate(plan) if index not in done}
    if not left:
        return Work()
    total, rest = sum(map(len, plan)), sum(map(len, left.values()))
    label = _LABELS[store.identity["modality"]]
    with (
        Progress(means.console, label, total, done=total - rest) as progress,
        closing(_encode(encoder, contents, left, means.threads)) as results,
    ):
        for result in results:
            store.journal.append(_checked(result, left[result.index], contents))
            progress.advance(len(left[result.index]))
        seconds = progress.seconds
    return Work(frozenset(digest for batch in left.values() for digest in batch), seconds)


def _encode(
    encoder: ImageEncoder | TextEncoder,
    contents: Contents,
    batches: Mapping[int, Sequence[bytes]],
    threads: int,
) -> Generator[Encoded]:
    from features.pipeline import encode_images, encode_texts

    sources = contents.sources
    if _reads_texts(encoder):
        texts = ((at, [str(sources[one]) for one in batch]) for at, batch in batches.items())
        results = encode_texts(cast("TextEncoder", encoder), texts, threads=threads)
    else:
        paths = ((at, [Path(sources[one]) for one in batch]) for at, batch in batches.items())
        results = encode_images(cast("ImageEncoder", encoder), paths, threads=threads)
    yield from results


def _checked(result: Encoded, digests: Sequence[bytes], contents: Contents) -> Batch:
    """A batch for the journal: rows of length 1, of the very contents that were planned."""
    for position, digest in enumerate(digests):
        source = contents.sources[digest]
        read = result.digests.get(position, b"")[:DIGEST_BYTES]
        if isinstance(source, Path) and read != digest:
            raise DataError(
                f"{source}: changed while it was being encoded; run the same command again"
            )
    rows = result.rows.astype(np.float32)
    return Batch(
        index=result.index,
        digests=digests,
        kept=result.kept,
        rows=(rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16),
        faults=result.faults,
        first_frames=result.animated,
    )
