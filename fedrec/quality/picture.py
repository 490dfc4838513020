"""The measurements as a picture: one row a modality, three panels each.

Colours: Okabe & Ito 2008, which people with any colour vision can tell apart.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedrec.data.atomic import write_atomically
from fedrec.errors import ConfigError
from fedrec.quality.intervals import Interval
from fedrec.quality.measure import Modality, Quality
from fedrec.quality.sampling import HISTORY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("pdf", "png", "svg")
_HELD_OUT, _MATCHED, _RANDOM, _SHUFFLED = "#D55E00", "#0072B2", "#009E73", "#666666"
_GROUPS = (  # label, colour, line
    ("held-out item", _HELD_OUT, "-"),
    ("unseen, same popularity", _MATCHED, "--"),
    ("unseen, any", _RANDOM, ":"),
)
_WIDTH, _ROW_HEIGHT = 13.0, 3.4  # inches
_BINS = 32
_HISTOGRAM_SHARE = 0.998  # of the scores; the few beyond would flatten the rest


def require_drawing(path: Path) -> None:
    """Raise ConfigError where no picture of this name can be drawn, before anything is measured."""
    if path.suffix.removeprefix(".").lower() not in FORMATS:
        raise ConfigError(f"--picture {path}: must end in .{', .'.join(FORMATS)}")


def draw_quality(quality: Quality, path: Path) -> None:
    """Write the picture, in the format that the name ends in. No display is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = len(quality.modalities)
    figure = Figure(figsize=(_WIDTH, _ROW_HEIGHT * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Features of {quality.name}: do they tell what a user takes next?")
    limits = _auc_limits(quality)
    panels = figure.subplots(rows, 3, squeeze=False)
    for (name, modality), row in zip(quality.modalities.items(), panels, strict=True):
        _draw_scores(row[0], name, modality)
        _draw_spectrum(row[1], modality)
        _draw_auc(row[2], modality, limits)
    content = BytesIO()
    figure.savefig(content, format=path.suffix.removeprefix(".").lower(), dpi=120)
    write_atomically(path, lambda stream: stream.write(content.getvalue()))


def _draw_scores(axes: Axes, name: str, modality: Modality) -> None:
    """How similar held-out, equally popular and any unseen items are to the users' histories."""
    axes.set_title(name, loc="left", fontweight="bold")
    axes.set_xlabel(f"similarity: mean centred cosine with the last {HISTORY} items")
    axes.set_ylabel("density")
    groups = [
        _known(modality.random.scores[:, :1]),
        _known(modality.matched.scores[:, 1:]),
        _known(modality.random.scores[:, 1:]),
    ]
    if not all(map(len, groups)):
        _say_nothing_known(axes)
        return
    margin = (1 - _HISTOGRAM_SHARE) / 2
    low, high = np.quantile(np.concatenate(groups), [margin, 1 - margin])
    edges = np.linspace(low, max(high, low + 1e-3), _BINS)
    for scores, (label, colour, line) in zip(groups, _GROUPS, strict=True):
        heights, _ = np.histogram(scores, edges)
        density = heights / (len(scores) * np.diff(edges))
        axes.stairs(density, edges, label=label, color=colour, linestyle=line, linewidth=1.8)
        axes.axvline(float(scores.mean()), ymax=0.7, color=colour, linestyle=line, linewidth=1)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.35)
    small = {"fontsize": 8, "title_fontsize": 8, "frameon": False}
    axes.legend(loc="upper right", title="thin lines: means", **small)


def _known(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return scores[~np.isnan(scores)]


def _draw_spectrum(axes: Axes, modality: Modality) -> None:
    """Spread along each principal axis, relative to the largest."""
    axes.set_title(f"spread over {modality.geometry.dim} dimensions", loc="left")
    axes.set_xlabel("principal axis, widest first")
    axes.set_ylabel("standard deviation, share of the widest")
    spectrum = np.array(modality.geometry.spectrum)
    if not len(spectrum) or spectrum[0] <= 0:
        _say_nothing_known(axes)
        return
    shares = spectrum / spectrum[0]
    axes.plot(np.arange(1, len(shares) + 1), np.where(shares > 1e-4, shares, np.nan), color="black")
    rank = modality.geometry.effective_rank or 0
    axes.axvline(rank, color=_MATCHED, linestyle="--", label=f"effective rank {rank:.0f}")
    axes.set_yscale("log")
    axes.set_ylim(top=1.3)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper right", fontsize=8, frameon=False)


def _draw_auc(axes: Axes, modality: Modality, limits: tuple[float, float]) -> None:
    """AUC of the real and of the shuffled features, with intervals."""
    lifts = (
        (f"unseen,\nany\n({modality.random.users:,} users)", modality.random),
        (f"unseen, same\npopularity\n({modality.matched.users:,} users)", modality.matched),
    )
    axes.set_title("AUC: held-out above unseen item", loc="left")
    axes.set_xlabel("AUC with 95 % interval over users (0.5: chance)")
    axes.axvline(0.5, color="black", linewidth=1)
    for place, (_, lift) in enumerate(lifts):
        labels = ("features", "rows shuffled") if place == 0 else (None, None)
        _draw_interval(axes, place - 0.14, lift.auc, _HELD_OUT, "o", labels[0])
        _draw_interval(axes, place + 0.14, lift.shuffled_auc, _SHUFFLED, "s", labels[1])
    axes.set_yticks(range(len(lifts)), [label for label, _ in lifts], fontsize=8)
    axes.set_ylim(len(lifts) - 0.1, -0.6)
    axes.set_xlim(*limits)
    if modality.matched.auc is not None:
        axes.legend(loc="lower right", fontsize=8, frameon=False, ncols=2)


def _draw_interval(
    axes: Axes, place: float, interval: Interval | None, colour: str, marker: str, label: str | None
) -> None:
    if interval is None:
        return
    reach = [[interval.mean - interval.low], [interval.high - interval.mean]]
    axes.errorbar(
        interval.mean, place, xerr=reach, color=colour, marker=marker, capsize=4,
        linestyle="none", label=label,
    )  # fmt: skip
    axes.annotate(
        f"{interval.mean:.3f}", (interval.mean, place), (0, 7), textcoords="offset points",
        ha="center", fontsize=8, color=colour, bbox={"color": "white", "pad": 0.5},
    )  # fmt: skip


def _auc_limits(quality: Quality) -> tuple[float, float]:
    """One scale for all modalities, so that they can be compared by eye."""
    lifts = [lift for one in quality.modalities.values() for lift in (one.random, one.matched)]
    shown = [value for lift in lifts for value in (lift.auc, lift.shuffled_auc) if value]
    low = min((value.low for value in shown), default=0.5)
    high = max((value.high for value in shown), default=0.5)
    return min(low - 0.02, 0.45), max(high + 0.02, 0.65)


def _say_nothing_known(axes: Axes) -> None:
    axes.text(0.5, 0.5, "nothing to measure", transform=axes.transAxes, ha="center", va="center")
    axes.set_xticks([])
    axes.set_yticks([])
