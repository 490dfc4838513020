"""A small prepared folder with pictures, and a tiny image encoder."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fedrec.data import Columns, prepare

ITEMS = 40


def make_shop(folder: Path, items: int = ITEMS) -> Path:
    """A prepared folder of items i00, i01, ... with titles, some genres, and paths of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"i{item:02d}" for item in range(items)]
    rows = [f"u{user},{name},{time}" for user in range(2) for time, name in enumerate(names)]
    (folder / "rows.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    described = [
        f"{name},Thing number {at},{'Big|Red' if at % 3 else ''},p/{name}.png"
        for at, name in enumerate(names)
    ]
    (folder / "items.csv").write_text("\n".join(["item,title,genres,image", *described]) + "\n")
    columns = Columns(user="user", item="item", time="time", items=folder / "items.csv")
    return prepare(
        "csv",
        source=folder / "rows.csv",
        out=folder / "shop",
        min_interactions=1,
        columns=columns,
    )


def draw(path: Path, seed: int) -> None:
    """A picture of coloured noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, size=(24, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((80, 96)).save(path)


def draw_all(folder: Path, items: int = ITEMS) -> Path:
    """The pictures of `make_shop`; the last two items have the same."""
    for item in range(items):
        draw(folder / "p" / f"i{item:02d}.png", min(item, items - 2))
    return folder


def save_tiny_timm(path: Path) -> str:
    """Seeded random weights of timm's smallest test model; what names them on a command line."""
    import torch

    from features.libraries import library

    torch.manual_seed(0)
    model = library("timm").create_model("test_efficientnet", num_classes=3)
    torch.save(model.state_dict(), path)
    return f"timm:test_efficientnet/{path}"


def made(folder: Path) -> Mapping[str, bytes]:
    """Every file that training reads, by name."""
    names = ["manifest.json", *(f"features/{p.name}" for p in (folder / "features").iterdir())]
    return {name: (folder / name).read_bytes() for name in names if "/." not in name}


def moments(count: int, seed: int) -> list[float]:
    """Seeded shares of a run's time, one in each part of it."""
    generator = random.Random(seed)
    return [(part + generator.random()) / count for part in range(count)]
