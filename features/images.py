"""Pictures from files that may be missing, damaged, huge or no pictures at all."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
MAX_ELONGATION = 100  # long side / short side: resizing the short side multiplies the long one
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
_ORIENTATION = 0x0112


class ImageFault(Exception):
    """A picture cannot be used.

    kind: missing, outside the folder, not a plain file, unreadable, empty, too large, not an
    image, damaged, too narrow. detail: this file's case.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


def locate_image(root: Path, image: str | None, key: str) -> Path:
    """The file of an item: root/image, else root/<last part of image>, else root/<key>.<suffix>.

    Raises ImageFault: missing; outside the folder, for an absolute path, for `..`, and for a link
    that leads out of `root`.
    """
    for candidate in _candidates(image, key):
        path = root / candidate
        if os.path.lexists(path):
            _check_inside(root, path)
            return path
    raise ImageFault("missing", f"neither {image or 'a path'} nor {key}.jpg or the like")


def _candidates(image: str | None, key: str) -> list[str]:
    candidates = []
    if image:
        _check_relative(image)
        candidates = [image, Path(image).name]
    if key and "\0" not in key and Path(key).name == key and key != "..":
        candidates += [key + suffix for suffix in SUFFIXES]
        candidates += [key + suffix.upper() for suffix in SUFFIXES[:3]]
    return candidates


def _check_relative(image: str) -> None:
    parts = image.replace("\\", "/").split("/")
    if "\0" in image:
        raise ImageFault("outside the folder", f"{image!r} holds a null byte")
    if Path(image).is_absolute() or (":" in parts[0] and len(parts[0]) == 2) or ".." in parts:
        raise ImageFault("outside the folder", f"{image!r}, expected a path within the folder")


def _check_inside(root: Path, path: Path) -> None:
    try:
        real = os.path.realpath(path, strict=True)
    except OSError as error:
        raise ImageFault("missing", f"{path.name} is a link that leads nowhere") from error
    if not Path(real).is_relative_to(os.path.realpath(root)):
        raise ImageFault("outside the folder", f"{path.name} is a link to {real}")


def read_image(path: Path) -> bytes:
    """The content of the file.

    Raises ImageFault: missing, not a plain file, unreadable, empty, too large (MAX_FILE_BYTES).
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageFault("not a plain file", _kind_of(found.st_mode))
        if found.st_size > MAX_FILE_BYTES:
            raise ImageFault("too large", f"{found.st_size} bytes, at most {MAX_FILE_BYTES}")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageFault("missing", path.name) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageFault("unreadable", str(reason)) from error
    if not content:
        raise ImageFault("empty", "0 bytes")
    return content


def _kind_of(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"


def decode_image(content: bytes) -> Image:
    """The picture, RGB and upright, whatever the file was called.

    Of an animation the first frame, with `info["animated"]` true. CMYK, grey, palette and 16-bit
    pictures are converted; transparent parts become white.
    Raises ImageFault: empty, not an image, damaged, too large (MAX_PIXELS), too narrow.
    """
    if not content:
        raise ImageFault("empty", "0 bytes")
    try:
        return _decode(content)
    except (
        ImageFault,
        MemoryError,
    ):  # the machine's fault is not to be remembered as the picture's
        raise
    except Exception as error:  # decoders of foreign files raise whatever they stumble over
        raise _fault_of(error, content) from error


def _decode(content: bytes) -> Image:
    from PIL import Image

    Image.init()  # this Pillow may lack one of the formats
    known = [name for name in _FORMATS if name in Image.OPEN]
    with Image.open(io.BytesIO(content), formats=known) as image:
        _check_size(*image.size)
        animated = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
        image.seek(0)
        image.load()
        picture = _to_rgb(_upright(image))
    picture.info = {"animated": animated}
    return picture


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageFault("too large", f"{width} x {height} pixels, at most {MAX_PIXELS}")
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise ImageFault(
            "too narrow", f"{width} x {height} pixels, at most {MAX_ELONGATION} times as long"
        )


def _upright(image: Image) -> Image:
    """Turned as the EXIF data say; as it is where they are missing or damaged."""
    from PIL import ImageOps

    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:  # damaged EXIF data say nothing about the picture
        return image


def _to_rgb(image: Image) -> Image:
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image) -> Image:
    """Grey of 16 bits (modes I;16 and I), or of floats from their least to their greatest."""
    from PIL import Image

    values = np.asarray(image).astype(np.float32)
    if image.mode == "F":
        if not np.isfinite(values).all():
            raise ImageFault("damaged", "its values are not finite")
        low, high = values.min(), values.max()
        values = (values - low) * (255 / (high - low) if high > low else 0)
    else:
        values = np.clip(values, 0, 65535) // 256
    return Image.fromarray(values.astype(np.uint8))


def _fault_of(error: Exception, content: bytes) -> ImageFault:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        start = content[:8].hex(" ")
        return ImageFault("not an image", f"{len(content)} bytes, they begin with {start}")
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ImageFault("too large", str(error))
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ImageFault("damaged", reason)
