"""docs/results.md from the folder of a study, without measuring anything again.

A data set's part stands between two marks of its name and is replaced; what stands around them is
left as it is, so data sets of other studies stay. A part that is new comes last.
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
BEGIN = "<!-- {}: benchmarks/results_page.py writes what follows; change it there -->"
END = "<!-- {}: benchmarks/results_page.py wrote what precedes -->"
LEVELS = ("centralised", "item_knn", "popularity")
EACH = ["system", "seed", *COLUMNS, "validation full NDCG@10", "chosen by validation", "s"]


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="the study's folder")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write into")
    asked = parser.parse_args()
    text = asked.page.read_text(encoding="utf-8") if asked.page.exists() else "# Results\n"
    for name, models in finished(asked.out).items():
        pictured = draw_courses(name, models, run_folders(asked.out / name), asked.page.parent)
        text = with_part(text, name, generated(name, models, pictured))
    write_atomically(asked.page, lambda stream: stream.write(text.encode()))
    print(asked.page)


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


def draw_courses(
    name: str, models: Sequence[Measured], folders: Sequence[Path], place: Path
) -> str | None:
    """The name of the picture of a data set's federations in `place`; None where there are none."""
    if not folders:
        return None
    picture = f"quality-by-round-{name}.svg"
    draw({name: curves(folders)}, {name: levels(models)}, place / picture)
    return picture


def levels(models: Sequence[Measured]) -> dict[str, float]:
    """What stands as a line in the picture: validation, mean over seeds."""
    named = {model.name: model for model in models}
    return {
        name: statistics.fmean(named[name].means("validation", PROTOCOL, METRIC))
        for name in LEVELS
        if name in named
    }


def with_part(page: str, name: str, part: str) -> str:
    """The page with `part` between the marks of a data set, at its end where it has none."""
    begin, end = BEGIN.format(name), END.format(name)
    if (begin in page) != (end in page):
        raise ConfigError(f"the page has only one of the marks {begin!r} and {end!r}")
    head, _, rest = page.partition(begin)
    tail = rest.partition(end)[2] or "\n"
    return f"{head.rstrip()}\n\n{begin}\n\n{part.strip()}\n\n{end}{tail}"


def generated(name: str, models: Sequence[Measured], picture: str | None) -> str:
    """Tables, picture, conditions, and every run of a data set."""
    parts = [f"## {name}", report(models)]
    if picture:
        parts.append(
            f"![Validation by round]({picture})\n\nValidation full NDCG@10 after each round, the "
            "stages one after the other: mean over the seeds, and their range. Grey lines: the "
            "same number of systems that have no rounds."
        )
    return "\n\n".join([*parts, made_on(name, models), each(models)])


def made_on(name: str, models: Sequence[Measured]) -> str:
    """Command, commits, machines and versions; one line each where runs agree."""
    about = [run for model in models for run in model.about.values()]
    commits = unique(run["commit"] for run in about)
    machines = unique(
        headline({k: v for k, v in run["conditions"].items() if k != "load_average"})
        for run in about
    )
    lines = [
        f"    {command(name, about)}",
        f"Commit: {', '.join(commits)}." if commits else "",
        f"Made on: {'; '.join(machines)}.",
    ]
    return "### How these were made\n\n" + "\n\n".join(filter(None, lines))


def command(name: str, about: Sequence[Mapping[str, Any]]) -> str:
    """What makes these runs, from nothing."""
    settings = unique(" ".join(run["settings"]) for run in about)
    systems = unique(run["system"] for run in about)
    words = ["python benchmarks/accuracy.py", *settings, "--data", name]
    unasked = {name for name, entry in SYSTEMS.items() if entry.by_default}
    words += ["--systems", *systems] if set(systems) != unasked else []
    words += ["--seeds", str(1 + max(run["seed"] for run in about))]
    return " ".join(words + (["--quick"] if any(run["quick"] for run in about) else []))


def each(models: Sequence[Measured]) -> str:
    """Every run of a data set: a line a model and seed."""
    return f"### Each run\n\n{table(EACH, [row for model in models for row in lines_of(model)])}"


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
