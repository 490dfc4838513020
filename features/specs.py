"""What names an encoder: `open_clip:ViT-B-32/openai`, `timm:<model>/<file>`, `sbert:<folder>`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from fedrec.data.checksum import digest_file
from fedrec.errors import ConfigError, DataError

DEFAULT_IMAGE_ENCODER = "open_clip:ViT-B-32/openai"
DEFAULT_TEXT_ENCODER = "sbert:all-MiniLM-L6-v2"
_KINDS = {"image": ("open_clip", "timm"), "text": ("sbert", "open_clip")}
_FORMS = {
    "open_clip": "open_clip:MODEL/PRETRAINED or open_clip:MODEL/FILE",
    "timm": "timm:MODEL or timm:MODEL/FILE",
    "sbert": "sbert:NAME or sbert:FOLDER",
}
_WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin")
_MODEL_FILES = {*_WEIGHT_FILES, ".json", ".txt", ".model", ".vocab", ".merges"}
_SLUG_LENGTH = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSpec:
    """One encoder and where its weights come from.

    modality: image or text. kind: the library. model: the architecture, or the name of a
    sentence-transformers model. weights: a pretrained tag, or None. path: the local file or folder
    with the weights, or None.
    """

    modality: str
    kind: str
    model: str
    weights: str | None
    path: Path | None

    @property
    def name(self) -> str:
        """The same on every machine: a local file or folder is named without where it lies."""
        last = self.path.name if self.path else self.weights
        if self.kind == "sbert":
            return f"sbert:{last or self.model}"
        return f"{self.kind}:{self.model}" + (f"/{last}" if last else "")

    @property
    def slug(self) -> str:
        """`name` without the library, safe and short enough for the name of a file."""
        bare = self.name.partition(":")[2]
        stem = bare[: -len(self.path.suffix)] if self.path and self.path.suffix else bare
        return re.sub(r"[^A-Za-z0-9_.]+", "-", stem)[:_SLUG_LENGTH].strip("-.") or self.kind

    def weights_sha256(self) -> str | None:
        """sha256 of the local file, or over the model files of the local folder; None elsewhere.

        Raises DataError where they cannot be read.
        """
        if self.path is None:
            return None
        try:
            return digest_file(self.path) if self.path.is_file() else _digest_folder(self.path)
        except OSError as error:
            raise DataError(f"{self.path}: the weights cannot be read ({error})") from error


def parse_image_encoder(text: str) -> EncoderSpec:
    """The image encoder that `text` names. Raises ConfigError naming what is allowed."""
    return _parse(text, "image")


def parse_text_encoder(text: str) -> EncoderSpec:
    """The text encoder that `text` names. Raises ConfigError naming what is allowed."""
    return _parse(text, "text")


def _parse(text: str, modality: str) -> EncoderSpec:
    kind, _, rest = text.partition(":")
    if kind not in _KINDS[modality] or not rest.strip("/"):
        allowed = ", ".join(_FORMS[known] for known in _KINDS[modality])
        raise ConfigError(f"{modality} encoder {text!r}: expected {allowed}")
    if kind == "sbert":
        return _parse_sbert(text, rest)
    model, _, last = rest.partition("/")
    path = _weight_file(text, last)
    if path is None and kind == "timm" and last:
        raise ConfigError(f"image encoder {text!r}: there is no file {last}")
    if path is None and kind == "open_clip" and not last:
        raise ConfigError(
            f"{modality} encoder {text!r}: names no weights; expected {_FORMS[kind]}, such as "
            f"{DEFAULT_IMAGE_ENCODER}"
        )
    weights = None if path else last or None
    return EncoderSpec(modality=modality, kind=kind, model=model, weights=weights, path=path)


def _weight_file(text: str, last: str) -> Path | None:
    """The local file that `last` names; None for a tag, which has no such suffix."""
    path = Path(last).expanduser()
    if last and path.is_file():
        return path.resolve()
    if path.suffix in _WEIGHT_FILES or len(path.parts) > 1:
        raise ConfigError(f"encoder {text!r}: there is no file {path}")
    return None


def _parse_sbert(text: str, rest: str) -> EncoderSpec:
    path = Path(rest).expanduser()
    if path.is_dir():
        found: Path | None = path.resolve()
    elif path.is_absolute() or rest[0] in "./~" or len(path.parts) > 2:
        raise ConfigError(f"text encoder {text!r}: there is no folder {path}")
    else:
        found = None
    model = found.name if found else rest
    return EncoderSpec(modality="text", kind="sbert", model=model, weights=None, path=found)


def _digest_folder(folder: Path) -> str:
    """sha256 over the names and contents of the model files, sorted by name.

    Source cards and the like do not count. Raises DataError where there is no model file.
    """
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix in _MODEL_FILES and path.is_file()
    }
    if not files:
        raise DataError(f"{folder}: holds no model, expected files such as model.safetensors")
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {digest_file(files[name])}\n".encode())
    return digest.hexdigest()
