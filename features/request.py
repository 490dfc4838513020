"""What `fedrec extract` was asked for: checked as a whole before any work, then done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from features.contents import Contents, Items, image_contents, text_contents
from features.extraction import extract
from features.job import Job, Means
from features.outcome import Outcome
from features.progress import Progress
from features.recipe import recipe_of
from features.specs import (
    DEFAULT_IMAGE_ENCODER,
    DEFAULT_TEXT_ENCODER,
    EncoderSpec,
    parse_image_encoder,
    parse_text_encoder,
)
from features.texts import Template, parse_template
from fedrec.errors import ConfigError, DataError

_DEFAULT_TEMPLATE = "{text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The options of the command, None where they were not given."""

    data: Path
    images: Path | None = None
    image_encoder: str | None = None
    image_axes: int | None = None
    image_name: str | None = None
    text_encoder: str | None = None
    text: str | None = None
    text_name: str | None = None

    @property
    def wants_texts(self) -> bool:
        """With a text encoder named, or none at all."""
        return self.text_encoder is not None or self.image_encoder is None

    @property
    def wants_images(self) -> bool:
        """With an image encoder named, or none at all and a folder of pictures."""
        return self.image_encoder is not None or (
            self.images is not None and self.text_encoder is None
        )


def carry_out(request: Request, means: Means) -> Iterator[Outcome]:
    """One modality after the other. Raises ConfigError and DataError, most of them before any."""
    _require_sense(request)
    items = Items(request.data)
    texts = _text_job(request, items) if request.wants_texts else None
    images = _image_job(request) if request.wants_images else None
    if texts is not None:
        job, template = texts
        yield extract(job, text_contents(items, template), means)
    if images is not None:
        job, folder = images
        yield extract(job, _look_at(items, folder, means), means)


def _require_sense(request: Request) -> None:
    """No option may be without effect."""
    texts = {"--text": request.text, "--text-name": request.text_name}
    pictures = {
        "--images": request.images,
        "--image-axes": request.image_axes,
        "--image-name": request.image_name,
    }
    for options, wanted, encoder in (
        (texts, request.wants_texts, "--text-encoder"),
        (pictures, request.wants_images, "--image-encoder with --images"),
    ):
        given = [name for name, value in options.items() if value is not None]
        if given and not wanted:
            raise ConfigError(f"{', '.join(given)}: has no effect here; add {encoder}, or leave it")
    if request.image_encoder is not None and request.images is None:
        raise ConfigError("--image-encoder: needs --images FOLDER, where the pictures are")
    if request.text_name is not None and request.text_name == request.image_name:
        raise ConfigError(f"--text-name and --image-name are both {request.text_name!r}")


def _text_job(request: Request, items: Items) -> tuple[Job, Template]:
    spec = parse_text_encoder(request.text_encoder or DEFAULT_TEXT_ENCODER)
    if request.text is None and not any(text.strip() for text in items.column("text")):
        raise DataError(
            f"{request.data}: the column text of its items is empty; say with --text what to read, "
            f"its columns are {', '.join(items.columns)}"
        )
    template = parse_template(request.text or _DEFAULT_TEMPLATE, items.columns)
    return _job(request, spec, request.text_name, template=template.text), template


def _image_job(request: Request) -> tuple[Job, Path]:
    spec = parse_image_encoder(request.image_encoder or DEFAULT_IMAGE_ENCODER)
    folder = request.images
    if folder is None or not folder.is_dir():
        raise DataError(f"--images {folder}: no such folder")
    return _job(request, spec, request.image_name, axes=request.image_axes), folder


def _job(
    request: Request,
    spec: EncoderSpec,
    name: str | None,
    *,
    template: str | None = None,
    axes: int | None = None,
) -> Job:
    weights = spec.weights_sha256()
    recipe = recipe_of(spec, weights, template=template, axes=axes)
    job = Job(folder=request.data, spec=spec, weights_sha256=weights, recipe=recipe, name=name)
    job.feature_name()  # is refused now rather than after the work
    return job


def _look_at(items: Items, folder: Path, means: Means) -> Contents:
    total = len(items.column("key")) - 1
    with Progress(means.console, "reading pictures", total) as progress:
        return image_contents(items, folder, threads=means.threads, advance=progress.advance)
