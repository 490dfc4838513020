"""Validation against rounds and against bytes: a row of two panels a server, a line a setting.

Colours: Okabe & Ito 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedrec.data.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLAIN = "plain"
_COLOURS = ("#000000", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00")
_DASHES = (":", "--", "-.", (0, (5, 1, 1, 1, 1, 1)))
_WIDTH, _ROW_HEIGHT = 11.0, 2.9  # inches


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Validation full NDCG@10 of a run. rounds, megabytes (both ways), ndcg: [validations]."""

    server: str
    steps: int
    variant: str
    rounds: Sequence[int]
    megabytes: Sequence[float]
    ndcg: Sequence[float]

    @property
    def label(self) -> str:
        """What the legend calls it."""
        named = f"{self.steps} step{'s' if self.steps > 1 else ''}"
        return named if self.variant == PLAIN else f"{named}, {self.variant}"


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Write the picture in the format that the name ends in; the same numbers, the same bytes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    servers = list(dict.fromkeys(curve.server for curve in curves))
    kind, content = path.suffix.removeprefix("."), BytesIO()
    with rc_context({"svg.hashsalt": "fedrec", "svg.fonttype": "path"}):
        size = (_WIDTH, _ROW_HEIGHT * len(servers) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(servers), 2, squeeze=False, sharex="col", sharey=True)
        for server, (by_round, by_bytes) in zip(servers, panels, strict=True):
            _draw_server(by_round, by_bytes, server, curves)
        panels[-1][0].set_xlabel("round")
        panels[-1][1].set_xlabel("MB that have travelled, both ways")
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(content, format=kind, dpi=120, metadata=metadata)
    write_atomically(path, lambda stream: stream.write(content.getvalue()))


def _draw_server(by_round: Axes, by_bytes: Axes, server: str, curves: Sequence[Curve]) -> None:
    steps = sorted({curve.steps for curve in curves})
    variants = list(dict.fromkeys(c.variant for c in curves if c.variant != PLAIN))
    by_round.set_title(server, loc="left", fontweight="bold")
    by_round.set_ylabel("validation full NDCG@10")
    for curve in (curve for curve in curves if curve.server == server):
        colour = _COLOURS[steps.index(curve.steps) % len(_COLOURS)]
        line: dict[str, Any] = {"color": colour, "label": curve.label, "linewidth": 1.6}
        if curve.variant != PLAIN:
            dashes = _DASHES[variants.index(curve.variant) % len(_DASHES)]
            line |= {"linestyle": dashes, "linewidth": 1.2}
        by_round.plot(curve.rounds, curve.ndcg, **line)
        by_bytes.plot(curve.megabytes, curve.ndcg, **line)
    by_bytes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
