"""`fedrec extract` as a whole: a second run with nothing to do, and memory with many pictures."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from features.libraries import library
from fedrec.data import Columns, prepare

RUN = """
import sys
from fedrec import cli
code = cli.run(["extract", *sys.argv[1:]])
loaded = [name for name in ("torch", "sentence_transformers", "timm") if name in sys.modules]
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("MEASURED", code, status["VmHWM"].split()[0], ",".join(loaded) or "none")
"""  # not ru_maxrss: it starts from what the parent had
TINY = "test_efficientnet"  # timm's smallest, 160 x 160 pixels


def second_run(
    movies: list[dict[str, Any]], posters: Path, sbert: Path, efficientnet: Path, folder: Path
) -> dict[str, Any]:
    """The command twice: with everything to do, and with nothing."""
    data = prepared([movie for movie in movies if movie["image"]], folder)
    arguments = [data, "--images", posters, "--text-encoder", f"sbert:{sbert}"]
    arguments += ["--image-encoder", f"timm:tf_efficientnet_lite0/{efficientnet}"]
    runs = [extract(arguments, folder / "cache") for _ in range(2)]
    return {"items": len(movies), "first": runs[0], "second": runs[1]}


def memory(images: int, folder: Path) -> dict[str, Any]:
    """Peak memory with `images` pictures above that with 64, in bytes, and pictures a second."""
    import torch

    torch.manual_seed(0)
    weights = folder / "tiny.pth"
    torch.save(library("timm").create_model(TINY).state_dict(), weights)
    few, many = (measured(count, weights, folder) for count in (64, images))
    return {
        "images": images,
        "seconds": many["seconds"],
        "peak_bytes": many["peak_bytes"],
        "peak_bytes_with_64": few["peak_bytes"],
        "above_encoder_bytes": many["peak_bytes"] - few["peak_bytes"],
    }


def measured(count: int, weights: Path, folder: Path) -> dict[str, Any]:
    pictures = folder / f"pictures-{count}"
    write_pictures(pictures, count)
    items = [{"key": f"i{at}", "title": f"{at}", "image": f"{at}.jpg"} for at in range(count)]
    data = prepared(items, folder / f"data-{count}")
    spec = f"timm:{TINY}/{weights}"
    return extract([data, "--images", pictures, "--image-encoder", spec], folder / f"cache-{count}")


def write_pictures(folder: Path, count: int) -> None:
    """JPEGs of 182 x 268, each with bytes of its own behind the same few hundred pictures."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    contents = []
    for _ in range(300):
        coarse = chance.integers(0, 256, size=(18, 12, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((182, 268), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        contents.append(buffer.getvalue())
    for at in range(count):
        (folder / f"{at}.jpg").write_bytes(contents[at % 300] + at.to_bytes(8, "big"))


def prepared(items: list[dict[str, Any]], folder: Path) -> Path:
    """A prepared folder of these items: key, title, image, and text where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"u{user},{item['key']},{at}" for user in range(2) for at, item in enumerate(items)]
    (folder / "rows.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    columns = ("item", "title", "text", "image")
    with (folder / "items.csv").open("w") as stream:
        print(*columns, sep=",", file=stream)
        for item in items:
            cells = (item["key"], item["title"], item.get("text", ""), item["image"] or "")
            print(*(quoted(cell) for cell in cells), sep=",", file=stream)
    named = Columns(user="user", item="item", time="time", items=folder / "items.csv")
    source = folder / "rows.csv"
    out = folder / "data"
    return prepare("csv", source=source, out=out, min_interactions=1, columns=named)


def quoted(cell: str) -> str:
    return '"' + " ".join(cell.split()).replace('"', '""') + '"'


def extract(arguments: list[Any], cache: Path) -> dict[str, Any]:
    """One run of the command: seconds with starting Python, peak memory, what was imported."""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        env={**os.environ, "FEDREC_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - began
    code, peak, loaded = ended.stdout.splitlines()[-1].split()[1:]
    if code != "0":
        raise RuntimeError(f"fedrec extract ended with {code}: {ended.stdout}")
    return {"seconds": seconds, "peak_bytes": int(peak) * 1024, "imported": loaded}
