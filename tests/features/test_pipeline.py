"""Batches through an encoder: faults stay with their file, results with their batch."""

import threading
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from features.encoders import ImageEncoder, TextEncoder, load_image_encoder
from features.pipeline import TEXTS_A_BATCH, Encoded, encode_images, encode_texts, text_batches
from features.specs import EncoderSpec


class MeanColour:
    """An encoder of one row for one picture: the mean of its colours; black says nothing."""

    dim = 3
    preprocessing = "none"
    weights_sha256 = "0" * 64
    versions: dict[str, str] = {}  # noqa: RUF012
    batch_size = 4

    def __init__(self, device: str) -> None:
        self.device = device
        self.threads: set[str] = set()

    def prepare(self, image: Image) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def encode(self, prepared: Sequence[Tensor]) -> NDArray[np.float32]:
        self.threads.add(threading.current_thread().name)
        rows = [picture.float().mean(dim=(1, 2)) for picture in prepared]
        found: NDArray[np.float32] = (torch.stack(rows) if rows else torch.zeros(0, 3)).numpy()
        return found


def batches_of(paths: list[Path], size: int) -> list[tuple[int, list[Path]]]:
    return [
        (10 + number, paths[start : start + size])
        for number, start in enumerate(range(0, len(paths), size))
    ]


def by_index(results: Iterator[Encoded]) -> dict[int, Encoded]:
    return {result.index: result for result in results}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_bad_file_is_a_fault_of_its_position_and_the_others_are_encoded(
    device: str, tmp_path: Path, photographs: list[Path], saved: object
) -> None:
    from PIL import Image

    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    Image.new("RGB", (8, 8), "red").save(
        tmp_path / "two.gif", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")]
    )
    names = ["text.jpg", "gone.jpg", "black.png", "two.gif"]
    batch = [photographs[0], *(tmp_path / name for name in names), photographs[1]]
    found = by_index(encode_images(MeanColour(device), [(7, batch)], threads=2))[7]
    assert found.kept == [0, 4, 5]
    assert {position: kind for position, (kind, _) in found.faults.items()} == {
        1: "not an image",
        2: "missing",
        3: "no features",
    }
    assert found.rows.shape == (3, 3) and found.rows[1].tolist() == [255.0, 0.0, 0.0]
    assert found.animated == [4]
    assert found.digests == {
        position: sha256(batch[position].read_bytes()).digest() for position in (0, 1, 3, 4, 5)
    }


def test_the_result_of_a_batch_does_not_depend_on_the_number_of_threads(
    tiny_clip: EncoderSpec, photographs: list[Path]
) -> None:
    encoder = load_image_encoder(tiny_clip, device="cpu")
    batches = batches_of(photographs * 3, 4)
    runs = [by_index(encode_images(encoder, batches, threads=threads)) for threads in (1, 2, 5)]
    assert runs[0].keys() == {index for index, _ in batches}
    for run in runs[1:]:
        for index, found in run.items():
            assert found.rows.tobytes() == runs[0][index].rows.tobytes()


def test_real_texts_give_the_same_bytes_on_any_number_of_threads(sbert: TextEncoder) -> None:
    texts = sorted((f"film {number} " * (number % 9 + 1) for number in range(60)), key=len)
    batches = [(start, texts[start : start + 7]) for start in range(0, 60, 7)]
    first, second = (by_index(encode_texts(sbert, batches, threads=n)) for n in (1, 2))
    assert first.keys() == second.keys() == {start for start, _ in batches}
    for index, found in first.items():
        assert found.kept == list(range(len(found.rows))) and not found.faults
        assert found.rows.tobytes() == second[index].rows.tobytes()


def test_workers_encode_on_a_cpu_and_the_caller_encodes_on_an_accelerator(
    photographs: list[Path],
) -> None:
    here = threading.current_thread().name
    for device, expected in (("cpu", False), ("cuda", True)):
        encoder = MeanColour(device)
        list(encode_images(encoder, batches_of(photographs, 2), threads=2))
        assert (encoder.threads == {here}) is expected


def test_batches_are_drawn_only_a_few_ahead_of_what_was_taken(photographs: list[Path]) -> None:
    drawn = []

    def endless() -> Iterator[tuple[int, list[Path]]]:
        for number in range(10**9):
            drawn.append(number)
            yield number, photographs[:1]

    results = encode_images(MeanColour("cpu"), endless(), threads=3)
    for _ in range(20):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(drawn) <= 20 + 3 + 2


def test_torch_has_as_many_threads_afterwards_as_before(photographs: list[Path]) -> None:
    before = torch.get_num_threads()
    list(encode_images(MeanColour("cpu"), batches_of(photographs, 5), threads=2))
    assert torch.get_num_threads() == before
    after: list[int] = []
    thread = threading.Thread(target=lambda: after.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert after == [before]


def test_an_error_of_the_encoder_reaches_the_caller_and_ends_the_work(
    photographs: list[Path],
) -> None:
    class Broken(MeanColour):
        def encode(self, prepared: Sequence[Tensor]) -> NDArray[np.float32]:
            raise RuntimeError("out of memory")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="out of memory"):
        list(encode_images(Broken("cpu"), batches_of(photographs, 1), threads=2))
    time.sleep(0.05)
    assert threading.active_count() == before


def test_no_batches_give_nothing(efficientnet: ImageEncoder) -> None:
    assert list(encode_images(efficientnet, [], threads=2)) == []


def test_text_batches_hold_as_many_tokens_as_are_fast_to_encode() -> None:
    assert text_batches([]) == []
    assert text_batches([2000]) == [slice(0, 1)]
    lengths = [10] * 150 + [100] * 21 + [256] * 5
    batches = text_batches(lengths)
    assert [(part.start, part.stop) for part in batches] == [
        (0, 102),
        (102, 150),
        (150, 160),
        (160, 170),
        (170, 174),
        (174, 176),
    ]
    assert len(range(*text_batches([2] * 500)[0].indices(500))) == TEXTS_A_BATCH
