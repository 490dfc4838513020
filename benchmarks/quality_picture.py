"""Validation against round for the three stages, a panel a data set: mean and range over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedrec.data.atomic import write_atomically
from fedrec.stages import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = dict(zip(STAGES, ("#0072B2", "#D55E00", "#009E73"), strict=True))
_LEVELS = (":", "--", "-.")
_WIDTH, _HEIGHT = 5.2, 3.6  # inches, of a panel


@dataclass(frozen=True)
class Curve:
    """Validation full NDCG@10 of a stage.

    rounds: [validations], counted over all stages. values: [seeds, validations], NaN where a seed's
    stage had ended.
    """

    stage: str
    rounds: NDArray[np.int64]
    values: NDArray[np.float64]


def curves(runs: Sequence[Path]) -> list[Curve]:
    """The stages of runs that differ in nothing but the seed, from their `metrics.jsonl`.

    A stage begins where the longest of the runs has ended the one before it.
    """
    lines = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in runs
    ]
    found, offset = list[Curve](), 0
    for stage in STAGES:
        held = [[line for line in of_run if line["stage"] == stage] for of_run in lines]
        measured = [
            {line["round"]: line["validation"]["full"]["ndcg@10"] for line in part
             if line["validation"]}
            for part in held
        ]  # fmt: skip
        rounds = sorted(set().union(*measured))
        if rounds:
            values = [[part.get(number, np.nan) for number in rounds] for part in measured]
            found.append(Curve(stage, offset + np.array(rounds), np.array(values)))
        offset += max((line["round"] for part in held for line in part), default=0)
    return found


def draw(
    panels: Mapping[str, Sequence[Curve]], levels: Mapping[str, Mapping[str, float]], path: Path
) -> None:
    """Write the picture in the format that the name ends in; the same numbers give the same bytes.

    panels: data set -> curves. levels: data set -> what stands beside them, by name.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = path.suffix.removeprefix(".")
    content = BytesIO()
    with rc_context({"svg.hashsalt": "fedrec", "svg.fonttype": "path"}):
        figure = Figure(figsize=(_WIDTH * len(panels), _HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for (name, held), panel in zip(panels.items(), axes, strict=True):
            _draw_panel(panel, name, held, levels.get(name, {}))
        undated = {"Date": None} if kind == "svg" else {}
        figure.savefig(content, format=kind, dpi=120, metadata=undated)
    write_atomically(path, lambda stream: stream.write(content.getvalue()))


def _draw_panel(axes: Axes, name: str, held: Sequence[Curve], levels: Mapping[str, float]) -> None:
    axes.set_title(name, loc="left")
    axes.set_xlabel("round")
    axes.set_ylabel("validation full NDCG@10")
    for curve in held:
        colour = _COLOURS[curve.stage]
        seeds = len(curve.values)
        label = f"{curve.stage}, {seeds} seed{'s' if seeds > 1 else ''}"
        mean = np.nanmean(curve.values, axis=0)
        low, high = np.nanmin(curve.values, axis=0), np.nanmax(curve.values, axis=0)
        axes.fill_between(curve.rounds, low, high, color=colour, alpha=0.25, linewidth=0)
        axes.plot(curve.rounds, mean, color=colour, label=label, marker=".", markersize=3)
    for (level, value), line in zip(levels.items(), _LEVELS, strict=False):
        axes.axhline(value, color="#666666", linestyle=line, linewidth=1, label=level)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
