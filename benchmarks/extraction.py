"""Feature extraction: speed and agreement with the libraries called by hand, reruns, memory.

Every peer runs in the same process, in turn with this package; numbers are medians over the rounds
with their quartiles.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

from extraction_command import memory, second_run
from extraction_speed import image_speed, text_speed
from features.libraries import versions_of
from measuring import Spread, arguments, conditions, publish, table

DISTRIBUTIONS = ("numpy", "pillow", "sentence-transformers", "timm", "torch", "transformers")


def main() -> None:
    asked = parse()
    movies = read_movies(asked.movies, asked.posters)
    random.Random(0).shuffle(movies)
    texts = [movie["text"] for movie in movies]
    files = [asked.posters / movie["image"] for movie in movies if movie["image"]]
    rounds, images = asked.rounds, asked.images
    if asked.quick:
        movies, texts, files, rounds, images = movies[:200], texts[:200], files[:100], 1, 500
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as named:
        folder = Path(named)
        measured = {
            "speed": [
                text_speed(texts, asked.sbert, rounds, threads),
                image_speed(files, asked.efficientnet, rounds, threads),
            ],
            "rerun": second_run(movies, asked.posters, asked.sbert, asked.efficientnet, folder),
            "memory": memory(images, folder),
        }
    about = conditions()
    about["versions"] |= versions_of(*DISTRIBUTIONS)
    publish(asked.json, about, {"quick": asked.quick, **measured}, report(measured))


def parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--posters", type=Path, required=True, help="folder of KEY.jpg")
    parser.add_argument("--movies", type=Path, required=True, help="items.jsonl or movies.csv")
    parser.add_argument("--sbert", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument(
        "--efficientnet", type=Path, required=True, help="efficientnet-lite0-57934424.pth"
    )
    parser.add_argument("--rounds", type=int, default=5, help="alternating repetitions")
    parser.add_argument("--images", type=int, default=100_000, help="pictures for the memory")
    return parser.parse_args()


def read_movies(path: Path, posters: Path) -> list[dict[str, Any]]:
    """key, title, text (title, genres and plot where there is one), image (name or None)."""
    with path.open(encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in stream]
        else:
            rows = [{**row, "genres": row["genres"].split("|")} for row in csv.DictReader(stream)]
    movies = []
    for row in rows:
        name = f"{row['movieId']}.jpg"
        parts = [row["title"], ", ".join(row["genres"]), row.get("plot") or ""]
        movies.append(
            {
                "key": str(row["movieId"]),
                "title": row["title"],
                "text": ". ".join(part for part in parts if part),
                "image": name if (posters / name).exists() else None,
            }
        )
    return movies


def report(measured: dict[str, Any]) -> str:
    """Markdown."""
    first, second = measured["rerun"]["first"], measured["rerun"]["second"]
    header = ("what", "fedrec, 1/s", "by hand, 1/s (batch)", "ratio", "least cosine")
    return "\n".join(
        (
            table(header, [speed_row(part) for part in measured["speed"]]),
            "",
            f"`fedrec extract`, texts and pictures: {first['seconds']:.1f} s; again with nothing "
            f"changed: {second['seconds']:.1f} s, imported: {second['imported']}",
            memory_line(measured["memory"]),
        )
    )


def speed_row(part: dict[str, Any]) -> tuple[str, ...]:
    ours, by_hand, ratios = (
        Spread.of(part[key]) for key in ("ours_per_s", "by_hand_per_s", "ratios")
    )
    return (
        f"{part['count']} {part['what']}",
        ours.text(1),
        f"{by_hand.text(1)} ({part['by_hand_batch_size']})",
        ratios.text(2),
        f"{part['least_cosine']:.7f} ({part['compared']})",
    )


def memory_line(part: dict[str, Any]) -> str:
    above = part["above_encoder_bytes"] / 2**20
    return (
        f"{part['images']} pictures: {part['seconds']:.0f} s, peak memory "
        f"{part['peak_bytes'] / 2**20:.0f} MiB, {above:.0f} MiB above the same run with 64"
    )


if __name__ == "__main__":
    main()
