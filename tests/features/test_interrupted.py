"""Runs that are killed, stopped, or out of disk space: they go on, and end in the same bytes."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.features.command_process import start
from tests.features.shop import draw_all, made, make_shop, moments, save_tiny_timm

ITEMS = 120


@dataclass(frozen=True)
class Reference:
    """A run that nobody disturbed. seconds: how long it took."""

    shop: Path
    arguments: list[object]
    files: Mapping[str, bytes]
    cache: Path
    seconds: float


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    encoder = save_tiny_timm(folder / "tiny.pth")
    shop = make_shop(folder, ITEMS)
    pictures = draw_all(folder / "pictures", ITEMS)
    (pictures / "p" / "i07.png").write_bytes(b"no picture")
    untouched = folder / "untouched"
    shutil.copytree(shop, untouched)
    options: list[object] = ["--images", pictures, "--image-encoder", encoder]
    options += ["--batch-size", 4, "--threads", 1, "--device", "cpu"]
    for cache in ("warm", "cache"):  # the first also starts the server of processes
        shutil.rmtree(shop)
        shutil.copytree(untouched, shop)
        begun = time.monotonic()
        finish([shop, *options], folder / "out", folder / cache)
        seconds = time.monotonic() - begun
    return Reference(untouched, options, made(shop), folder / "cache", seconds)


def finish(arguments: list[object], output: Path, cache: Path) -> str:
    process = start(arguments, output, cache)
    process.join(60)
    text = output.read_text()
    assert process.exitcode == 0, text
    return text


@pytest.fixture
def shop(reference: Reference, tmp_path: Path) -> Path:
    shutil.copytree(reference.shop, tmp_path / "shop")
    return tmp_path / "shop"


@pytest.mark.parametrize("moment", moments(5, seed=11))
def test_killed_at_any_moment_the_same_command_ends_in_the_same_bytes(
    reference, shop, tmp_path, moment
) -> None:
    arguments, output, cache = [shop, *reference.arguments], tmp_path / "out", tmp_path / "cache"
    process = start(arguments, output, cache)
    process.join(moment * reference.seconds)
    process.kill()
    process.join()
    finish(arguments, output, cache)
    assert made(shop) == reference.files


def test_killed_again_and_again_while_it_encodes(reference, shop, tmp_path) -> None:
    """Each run is killed once it has added to the journal, so that each goes on from another."""
    arguments, output, cache = [shop, *reference.arguments], tmp_path / "out", tmp_path / "cache"
    sizes = [0]
    for _ in range(3):
        process = start(arguments, output, cache)
        while process.is_alive() and journal_size(cache) <= sizes[-1]:
            time.sleep(0.002)
        process.kill()
        process.join()
        sizes.append(journal_size(cache))
    assert sizes == sorted(set(sizes))  # it has grown each time
    text = finish(arguments, output, cache)
    assert made(shop) == reference.files
    encoded = int(text.partition(" newly encoded")[0].split()[-1])
    assert 0 < encoded < ITEMS - 1


def journal_size(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.glob("embeddings/*/rows.journal"))


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_politely_it_says_how_to_go_on(reference, shop, tmp_path, stop, code) -> None:
    import os

    arguments, output, cache = [shop, *reference.arguments], tmp_path / "out", tmp_path / "cache"
    process = start(arguments, output, cache)
    while process.is_alive() and not journal_size(cache):
        time.sleep(0.002)
    assert process.pid is not None
    os.kill(process.pid, stop)
    process.join(60)
    assert process.exitcode == code, output.read_text()
    assert "run the same command again to go on" in output.read_text()
    assert not (shop / "features").exists() or not list((shop / "features").iterdir())
    finish(arguments, output, cache)
    assert made(shop) == reference.files


def test_a_full_disk_is_an_error_in_words_and_loses_nothing(reference, shop, tmp_path) -> None:
    arguments, output, cache = [shop, *reference.arguments], tmp_path / "out", tmp_path / "cache"
    process = start(arguments, output, cache, limit=20_000)
    process.join(60)
    assert process.exitcode == 2
    assert "File too large" in output.read_text() and "to go on" in output.read_text()
    assert 10_000 < journal_size(cache) <= 20_000
    finish(arguments, output, cache)
    assert made(shop) == reference.files


def test_another_job_in_between_takes_over_what_was_done(reference, shop, tmp_path) -> None:
    """A journal of another plan is kept as it is: nothing of it is encoded twice."""
    arguments, output, cache = [shop, *reference.arguments], tmp_path / "out", tmp_path / "cache"
    process = start(arguments, output, cache)
    while process.is_alive() and journal_size(cache) < 4_000:
        time.sleep(0.002)
    process.kill()
    process.join()
    text = finish([*arguments, "--batch-size", 7], output, cache)
    encoded = int(text.partition(" newly encoded")[0].split()[-1])
    assert 0 < encoded < ITEMS - 1
    assert len(list(cache.glob("embeddings/*/rows-*.bin"))) == 2
