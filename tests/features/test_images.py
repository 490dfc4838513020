"""Files that should be pictures: what is used, and what is which fault."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from features import images
from features.images import ImageFault, decode_image, locate_image, read_image

Paint = Callable[[int], Image.Image]
Save = Callable[..., bytes]


def fault_of(content: bytes) -> ImageFault:
    with pytest.raises(ImageFault) as raised:
        decode_image(content)
    return raised.value


def located_fault(root: Path, image: str | None, key: str = "7") -> str:
    with pytest.raises(ImageFault) as raised:
        locate_image(root, image, key)
    return raised.value.kind


def plain(colour: str | tuple[int, ...], mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (20, 30), colour)


def colour_of(image: Image.Image) -> tuple[int, ...]:
    assert image.mode == "RGB"
    return tuple(int(value) for value in np.asarray(image).reshape(-1, 3).mean(axis=0).round())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_the_kind_of_a_picture_is_read_from_its_bytes(kind: str, saved: Save) -> None:
    image = decode_image(saved(plain((250, 250, 250)), kind))
    assert image.size == (20, 30)
    assert np.abs(np.array(colour_of(image)) - 250).max() <= 1
    assert image.info == {"animated": False}


def test_cmyk_becomes_rgb(saved: Save) -> None:
    red = decode_image(saved(plain((0, 255, 255, 0), "CMYK"), "JPEG"))
    assert colour_of(red)[0] > 200 and max(colour_of(red)[1:]) < 60


def test_what_is_transparent_becomes_white(saved: Save) -> None:
    clear_black = saved(plain((0, 0, 0, 0), "RGBA"), "PNG")
    assert colour_of(decode_image(clear_black)) == (255, 255, 255)
    half_black = saved(plain((0, 128), "LA"), "PNG")
    assert colour_of(decode_image(half_black)) == (127, 127, 127)


def test_a_palette_with_transparency_is_laid_on_white(saved: Save) -> None:
    image = Image.new("P", (20, 30), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert colour_of(decode_image(saved(image, "PNG"))) == (10, 20, 30)
    assert colour_of(decode_image(saved(image, "PNG", transparency=1))) == (255, 255, 255)


def test_sixteen_bits_keep_their_grey_instead_of_being_clipped(saved: Save) -> None:
    grey = Image.fromarray(np.full((30, 20), 0x8040, dtype=np.uint16))
    assert colour_of(decode_image(saved(grey, "PNG"))) == (128, 128, 128)
    ramp = np.linspace(-1, 3, 600, dtype=np.float32).reshape(30, 20)
    floats = np.asarray(decode_image(saved(Image.fromarray(ramp), "TIFF")))
    assert (floats[0, 0, 0], floats[-1, -1, 0]) == (0, 255)
    ramp[3, 3] = np.nan
    assert fault_of(saved(Image.fromarray(ramp), "TIFF")).kind == "damaged"


def test_the_first_frame_of_an_animation_is_used_and_noted(saved: Save) -> None:
    frames = [plain("red"), plain("blue")]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    image = decode_image(content)
    assert colour_of(image) == (255, 0, 0)
    assert image.info["animated"] is True


def test_the_camera_says_which_side_is_up(saved: Save) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    image = Image.new("RGB", (20, 30))
    image.paste("white", (0, 0, 20, 5))  # the top goes to the right
    turned = decode_image(saved(image, "JPEG", exif=exif))
    assert turned.size == (30, 20)
    assert np.asarray(turned)[:, 27:].mean() > 240 and np.asarray(turned)[:, :20].mean() < 15


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_camera_data_do_not_cost_the_picture(saved: Save) -> None:
    content = saved(plain("red"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode_image(content).size == (20, 30)


def test_a_file_that_ends_too_early_is_damaged(scene: Paint, saved: Save) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        content = saved(scene(0), kind)
        assert fault_of(content[: len(content) // 2]).kind == "damaged", kind


def test_what_is_no_picture_is_named_by_its_first_bytes() -> None:
    fault = fault_of(b"<html>not found</html>")
    assert (fault.kind, fault.detail) == (
        "not an image",
        "22 bytes, they begin with 3c 68 74 6d 6c 3e 6e 6f",
    )
    assert fault_of(b"").kind == "empty"
    assert fault_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").kind == "not an image"


def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused_before_unpacking() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        sealed = name + body
        return struct.pack(">I", len(body)) + sealed + struct.pack(">I", zlib.crc32(sealed))

    for side in (9_000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        bomb += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        assert fault_of(bomb).kind == "too large"


def test_a_thread_of_a_picture_is_refused_because_resizing_would_make_it_huge(saved: Save) -> None:
    assert fault_of(saved(Image.new("L", (1, 3000)), "PNG")).kind == "too narrow"
    assert decode_image(saved(Image.new("L", (1, 90)), "PNG")).size == (1, 90)


def test_an_item_is_found_by_its_path_by_its_name_and_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "posters").mkdir()
    for name in ("posters/1.jpg", "2.jpg", "k-3.PNG", "k 4.webp"):
        (tmp_path / name).write_bytes(b"x")
    assert locate_image(tmp_path, "posters/1.jpg", "9") == tmp_path / "posters" / "1.jpg"
    assert locate_image(tmp_path, "posters/2.jpg", "9") == tmp_path / "2.jpg"
    assert locate_image(tmp_path, None, "k-3") == tmp_path / "k-3.PNG"
    assert locate_image(tmp_path, "posters/gone.jpg", "k 4") == tmp_path / "k 4.webp"


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (None, "missing"),
        ("gone.jpg", "missing"),
        ("a" * 5000, "missing"),
        ("../secret.jpg", "outside the folder"),
        ("a/../../secret.jpg", "outside the folder"),
        ("..\\secret.jpg", "outside the folder"),
        ("/etc/hostname", "outside the folder"),
        ("C:\\secret.jpg", "outside the folder"),
        ("a\0.jpg", "outside the folder"),
    ],
)
def test_a_path_that_is_missing_or_leads_out_is_a_fault(
    tmp_path: Path, image: str | None, kind: str
) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    root = tmp_path / "images"
    root.mkdir()
    (root / "secret.jpg").write_bytes(b"x")
    assert located_fault(root, image) == kind


@pytest.mark.parametrize("key", ["", "..", "../secret", "a\0", "a/b"])
def test_a_key_is_never_a_way_out(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "images").mkdir()
    assert located_fault(tmp_path / "images", None, key) == "missing"


def test_links_may_stay_inside_but_not_lead_out_or_nowhere(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (root / "1.jpg").write_bytes(b"x")
    (root / "2.jpg").symlink_to("1.jpg")
    (root / "3.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "4.jpg").symlink_to("gone.jpg")
    (root / "5.jpg").symlink_to("5.jpg")
    (root / "out").symlink_to(tmp_path)
    (tmp_path / "named").symlink_to(root)
    assert locate_image(root, "2.jpg", "") == root / "2.jpg"
    assert locate_image(tmp_path / "named", "1.jpg", "") == tmp_path / "named" / "1.jpg"
    assert located_fault(root, "3.jpg") == "outside the folder"
    assert located_fault(root, "out/secret.jpg") == "outside the folder"
    assert located_fault(root, "4.jpg") == "missing"
    assert located_fault(root, "5.jpg") == "missing"


def test_only_plain_files_of_a_bearable_size_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kind_of(path: Path) -> str:
        with pytest.raises(ImageFault) as raised:
            read_image(path)
        return raised.value.kind

    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as stream:
        stream.truncate(images.MAX_FILE_BYTES + 1)
    assert kind_of(tmp_path / "folder.jpg") == "not a plain file"
    assert kind_of(tmp_path / "pipe.jpg") == "not a plain file"
    assert kind_of(tmp_path / "empty.jpg") == "empty"
    assert kind_of(tmp_path / "huge.jpg") == "too large"
    assert kind_of(tmp_path / "gone.jpg") == "missing"
    assert kind_of(tmp_path / "a\0b.jpg") == "unreadable"
    assert kind_of(tmp_path / "empty.jpg" / "below.jpg") == "unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "1.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(ImageFault, match="unreadable: Permission denied"):
        read_image(path)


def test_text_that_is_called_jpg_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_text("a list of things to buy\n")
    assert fault_of(read_image(locate_image(tmp_path, "1.jpg", ""))).kind == "not an image"


def test_a_picture_from_a_buffer_outlives_it(scene: Paint) -> None:
    buffer = io.BytesIO()
    scene(1).save(buffer, "PNG")
    image = decode_image(buffer.getvalue())
    del buffer
    assert np.array_equal(np.asarray(image), np.asarray(scene(1)))
