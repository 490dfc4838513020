"""Feature extraction: speed and agreement with the libraries called by hand, reruns, memory.

Run from the repository: python -m benchmarks.extraction --help. Every peer runs in the same
process, in turn with this package; numbers are medians over the rounds, [least, greatest].
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.extraction_command import memory, second_run
from benchmarks.extraction_speed import image_speed, text_speed
from features.libraries import library, versions_of

DISTRIBUTIONS = ("numpy", "pillow", "sentence-transformers", "timm", "torch", "transformers")


def main() -> None:
    arguments = parse()
    movies = read_movies(arguments.movies, arguments.posters)
    random.Random(0).shuffle(movies)
    texts = [movie["text"] for movie in movies]
    files = [arguments.posters / movie["image"] for movie in movies if movie["image"]]
    rounds, images = arguments.rounds, arguments.images
    if arguments.quick:
        movies, texts, files, rounds, images = movies[:200], texts[:200], files[:100], 1, 500
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as named:
        folder = Path(named)
        measured = {
            "machine": machine(),
            "quick": arguments.quick,
            "speed": [
                text_speed(texts, arguments.sbert, rounds, threads),
                image_speed(files, arguments.efficientnet, rounds, threads),
            ],
            "rerun": second_run(
                movies, arguments.posters, arguments.sbert, arguments.efficientnet, folder
            ),
            "memory": memory(images, folder),
        }
    print(report(measured))
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=2) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--posters", type=Path, required=True, help="folder of KEY.jpg")
    parser.add_argument("--movies", type=Path, required=True, help="items.jsonl or movies.csv")
    parser.add_argument("--sbert", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument(
        "--efficientnet", type=Path, required=True, help="efficientnet-lite0-57934424.pth"
    )
    parser.add_argument("--rounds", type=int, default=5, help="alternating repetitions")
    parser.add_argument("--images", type=int, default=100_000, help="pictures for the memory")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--quick", action="store_true", help="little of all: does it work at all")
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


def machine() -> dict[str, Any]:
    torch = library("torch")
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions_of(*DISTRIBUTIONS),
        "seeds": "0 for the sample, the synthetic pictures and the tiny network",
    }


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def report(measured: dict[str, Any]) -> str:
    """Markdown."""
    of = measured["machine"]
    versions = ", ".join(f"{name} {value}" for name, value in of["versions"].items())
    lines = [
        "",
        f"{of['processor']}, {of['cores']} cores; Python {of['python']}, {versions}",
        "",
        "| what | fedrec, 1/s | by hand, 1/s (batch) | ratio | least cosine |",
        "|---|---|---|---|---|",
        *(speed_row(part) for part in measured["speed"]),
        "",
    ]
    first, second = measured["rerun"]["first"], measured["rerun"]["second"]
    lines += [
        f"`fedrec extract`, texts and pictures: {first['seconds']:.1f} s; again with nothing "
        f"changed: {second['seconds']:.1f} s, imported: {second['imported']}",
        memory_line(measured["memory"]),
    ]
    return "\n".join(lines)


def speed_row(part: dict[str, Any]) -> str:
    return (
        f"| {part['count']} {part['what']} | {spread(part['ours_per_s'], 1)} | "
        f"{spread(part['by_hand_per_s'], 1)} ({part['by_hand_batch_size']}) | "
        f"{spread(part['ratios'], 2)} | {part['least_cosine']:.7f} ({part['compared']}) |"
    )


def memory_line(part: dict[str, Any]) -> str:
    above = part["above_encoder_bytes"] / 2**20
    return (
        f"{part['images']} pictures: {part['seconds']:.0f} s, peak memory "
        f"{part['peak_bytes'] / 2**20:.0f} MiB, {above:.0f} MiB above the same run with 64"
    )


def spread(values: list[float], digits: int) -> str:
    """median [least, greatest]"""
    median = statistics.median(values)
    return f"{median:.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


if __name__ == "__main__":
    main()
