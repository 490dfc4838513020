"""Fetching a publisher's archive, checked against its checksum."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

import typer

from fedrec.data.atomic import write_atomically
from fedrec.data.checksum import digest_file
from fedrec.errors import DataError

TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 16
_MD5 = re.compile(rb"\b[0-9a-fA-F]{32}\b")


def default_cache() -> Path:
    """Where archives are kept: $FEDREC_CACHE, else ~/.cache/fedrec."""
    named = os.environ.get("FEDREC_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "fedrec"


def fetch(url: str, cache: Path, *, md5: str | None = None, progress: bool = False) -> Path:
    """The archive at `url`, from the cache or the network.

    md5: the checksum it must have; None: the one that the publisher keeps beside it, in URL.md5.
    An archive is kept only if its checksum is right. Raises DataError that says what to put where.
    """
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url}: expected an address that begins with https://")
    target = cache / url.rsplit("/", 1)[-1]
    if target.is_file() and (md5 is None or digest_file(target, "md5") == md5):
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        expected = md5 or _published_md5(url)
        write_atomically(target, lambda stream: _receive(url, stream, progress))
    except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
        raise DataError(
            f"cannot download {url} ({error}); fetch it on another machine and put it at {target}, "
            "or name a copy with --source (the archive, or the folder it unpacks to)"
        ) from error
    found = digest_file(target, "md5")
    if found != expected:
        target.unlink()
        raise DataError(f"{url}: md5 {found}, expected {expected}; the download was thrown away")
    return target


def _published_md5(url: str) -> str:
    with urllib.request.urlopen(f"{url}.md5", timeout=TIMEOUT_S) as reply:  # noqa: S310
        found = _MD5.search(reply.read(4096))
    if found is None:
        raise DataError(f"{url}.md5: holds no md5 checksum")
    return found.group().decode().lower()


def _receive(url: str, stream: BinaryIO, progress: bool) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:  # noqa: S310
        size = int(reply.headers.get("Content-Length") or 0)
        received = 0
        with _bar(url, size, progress) as update:
            while block := reply.read(_BLOCK_BYTES):
                stream.write(block)
                received += len(block)
                update(len(block))
    if size and received != size:
        raise OSError(f"{received} of {size} bytes arrived")


def _bar(url: str, size: int, progress: bool) -> AbstractContextManager[Callable[[int], object]]:
    if not progress:
        return nullcontext(lambda _: None)
    bar: Any = typer.progressbar(length=size, label=url.rsplit("/", 1)[-1])
    return _Updating(bar)


class _Updating(AbstractContextManager[Callable[[int], object]]):
    """A progress bar whose context gives its `update`."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def __enter__(self) -> Callable[[int], object]:
        update: Callable[[int], object] = self._bar.__enter__().update
        return update

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)
