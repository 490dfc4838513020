"""docs/results.md from the folder of a study, without measuring anything again.

Everything between the two marks is replaced; what stands around them is left as it is.
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accuracy import OUT, load, report
from fedrec.data.atomic import write_atomically
from fedrec.errors import ConfigError
from main_job import COLUMNS
from measuring import headline, table
from quality_picture import curves, draw
from study import RANKS
from study_results import METRIC, PROTOCOL, Measured
from systems import SYSTEMS

PAGE = Path("docs/results.md")
PICTURE = "quality-by-round.svg"
BEGIN = "<!-- benchmarks/results_page.py writes what follows; change it there -->"
END = "<!-- benchmarks/results_page.py wrote what precedes -->"
LEVELS = ("centralised", "item_knn", "popularity")
EACH = ["system", "seed", *COLUMNS, "validation full NDCG@10", "chosen by validation", "s"]


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="the study's folder")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write into")
    asked = parser.parse_args()
    found = finished(asked.out)
    trained = {name: run_folders(asked.out / name) for name in found}
    panels = {name: curves(folders) for name, folders in trained.items() if folders}
    if panels:
        lines = {name: levels(found[name]) for name in panels}
        draw(panels, lines, asked.page.parent / PICTURE)
    before = asked.page.read_text(encoding="utf-8") if asked.page.exists() else "# Results\n"
    text = with_part(before, generated(asked.out, found)).encode()
    write_atomically(asked.page, lambda stream: stream.write(text))
    print(f"{asked.page}; pictures of {', '.join(panels) or 'nothing'} beside it")


def finished(out: Path) -> dict[str, list[Measured]]:
    """Data set -> its models that have been measured. Raises ConfigError where there is none."""
    names = sorted({path.parents[2].name for path in out.glob(f"*/*/seed-*/{RANKS}")})
    found = {name: load(out, name) for name in names}
    if not any(found.values()):
        raise ConfigError(f"{out}: no run has finished there; see benchmarks/accuracy.py")
    return found


def run_folders(folder: Path) -> list[Path]:
    """The finished federations of three stages of a data set."""
    return sorted(path.parent / "run" for path in folder.glob(f"fedrec/seed-*/{RANKS}"))


def levels(models: Sequence[Measured]) -> dict[str, float]:
    """What stands as a line in the picture: validation, mean over seeds."""
    named = {model.name: model for model in models}
    return {
        name: statistics.fmean(named[name].means("validation", PROTOCOL, METRIC))
        for name in LEVELS
        if name in named
    }


def with_part(page: str, part: str) -> str:
    """The page with `part` between the marks, at its end where it has none."""
    if (BEGIN in page) != (END in page):
        raise ConfigError(f"the page has only one of the marks {BEGIN!r} and {END!r}")
    head, _, rest = page.partition(BEGIN)
    tail = rest.partition(END)[2] or "\n"
    return f"{head.rstrip()}\n\n{BEGIN}\n\n{part.strip()}\n\n{END}{tail}"


def generated(out: Path, found: Mapping[str, Sequence[Measured]]) -> str:
    """Tables, picture, conditions, and every run."""
    picture = (
        f"![Validation by round]({PICTURE})\n\nValidation full NDCG@10 after each round, the "
        "stages one after the other: mean over the seeds, and their range. Grey lines: the same "
        "number of systems that have no rounds."
    )
    parts = [f"## {name}\n\n{report(models)}" for name, models in found.items()]
    shown = [picture] if any(run_folders(out / name) for name in found) else []
    return "\n\n".join([*parts, *shown, made_on(found), *map(each, found.items())])


def made_on(found: Mapping[str, Sequence[Measured]]) -> str:
    """Command, commits, machines and versions; one line each where runs agree."""
    about = [run for models in found.values() for model in models for run in model.about.values()]
    commits = unique(run["commit"] for run in about)
    machines = unique(
        headline({k: v for k, v in run["conditions"].items() if k != "load_average"})
        for run in about
    )
    lines = [
        f"    {command(found, about)}",
        f"Commit: {', '.join(commits)}." if commits else "",
        f"Made on: {'; '.join(machines)}.",
    ]
    return "## How these were made\n\n" + "\n\n".join(filter(None, lines))


def command(data: Iterable[str], about: Sequence[Mapping[str, Any]]) -> str:
    """What makes these runs, from nothing."""
    settings = unique(" ".join(run["settings"]) for run in about)
    systems = unique(run["system"] for run in about)
    words = ["python benchmarks/accuracy.py", *settings, "--data", *data]
    unasked = {name for name, entry in SYSTEMS.items() if entry.by_default}
    words += ["--systems", *systems] if set(systems) != unasked else []
    words += ["--seeds", str(1 + max(run["seed"] for run in about))]
    return " ".join(words + (["--quick"] if any(run["quick"] for run in about) else []))


def each(named: tuple[str, Sequence[Measured]]) -> str:
    """Every run of a data set: a line a model and seed."""
    name, models = named
    rows = [row for model in models for row in lines_of(model)]
    return f"### Each run, {name}\n\n{table(EACH, rows)}"


def lines_of(model: Measured) -> list[list[str]]:
    """A line a seed: its numbers, what validation chose, seconds of the run's whole training."""
    values = [model.means("test", p, m) for p, m in COLUMNS.values()]
    values.append(model.means("validation", PROTOCOL, METRIC))
    return [
        [
            model.name,
            str(seed),
            *(f"{of_seeds[place]:.4f}" for of_seeds in values),
            chosen(model.about[seed]["chosen"][model.name]),
            f"{model.about[seed]['seconds']:.0f}",
        ]
        for place, seed in enumerate(model.runs)
    ]


def chosen(about: Mapping[str, Any]) -> str:
    """What validation chose, in words; its value stands in a column of its own."""
    return ", ".join(f"{key} {value}" for key, value in about.items() if key != "validation")


def unique(values: Iterable[str]) -> list[str]:
    """Each value once, in the order of appearance, without the empty one."""
    return [value for value in dict.fromkeys(values) if value]


if __name__ == "__main__":
    main()
