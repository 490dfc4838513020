"""What an extraction did, for people: a few lines, and a file with all that has no feature."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from features.contents import Fault
from fedrec.data.atomic import write_atomically
from fedrec.data.folder import FEATURES
from fedrec.report.units import in_time

SETTINGS = {"image": "model.visual", "text": "model.semantic"}
_NOUNS = {"image": "pictures", "text": "texts"}
_SHOWN = 3
_COLUMNS = ("item", "key", "path", "kind", "detail")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One modality, extracted. Counts are of items, `contents` of different contents.

    encoded: whose content was encoded in this run; reused: whose was known. contents: how many
    were encoded in `seconds`. current: nothing had changed, nothing was written.
    """

    folder: Path
    modality: str
    name: str
    dim: int
    items: int
    encoded: int
    reused: int
    contents: int
    seconds: float
    first_frames: int
    faults: Sequence[Fault]
    current: bool

    def lines(self) -> list[str]:
        """The report."""
        present = self.encoded + self.reused
        path = self.folder / FEATURES / f"{self.name}.safetensors"
        lines = [
            f"{self.modality}: {path}",
            f"  {self.dim:,} dimensions, {present:,} of {self.items:,} items "
            f"({present / self.items:.1%})",
            f"  {self._work()}",
        ]
        if self.first_frames:
            lines.append(f"  of {self.first_frames:,} animated pictures the first frame was taken")
        if self.faults:
            lines += [f"  {line}" for line in fault_lines(self.faults)]
            lines.append(f"  all of them: {faults_path(self.folder, self.name)}")
        if self.name != self.modality:
            lines.append(
                f"  train with it: fedrec run data={self.folder} "
                f"{SETTINGS[self.modality]}={self.name}"
            )
        return lines

    def _work(self) -> str:
        if self.current:
            return "nothing has changed, nothing was written"
        work = f"{self.encoded:,} newly encoded, {self.reused:,} reused"
        if not self.contents or self.seconds <= 0:
            return work
        speed = self.contents / self.seconds
        return f"{work}; {in_time(self.seconds)}, {speed:,.1f} {_NOUNS[self.modality]} a second"


def fault_lines(faults: Sequence[Fault]) -> list[str]:
    """`12 missing: 10 not found (items 7, 9, 12, ...)`: counts by kind, and some keys."""
    by_kind = Counter(fault.kind for fault in faults)
    lines = [f"{len(faults):,} without a feature:"]
    for kind, count in sorted(by_kind.items(), key=lambda entry: (-entry[1], entry[0])):
        shown = [_shown(fault) for fault in faults if fault.kind == kind][:_SHOWN]
        more = ", ..." if count > _SHOWN else ""
        lines.append(f"  {count:,} {kind}: {', '.join(shown)}{more}")
    return lines


def faults_path(folder: Path, name: str) -> Path:
    """The file with every item that has no feature."""
    return folder / FEATURES / f"{name}.faults.csv"


def write_faults(path: Path, faults: Sequence[Fault]) -> None:
    """One line a fault; no file where there is none, and no writing where nothing has changed."""
    if not faults:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([getattr(fault, column) for column in _COLUMNS] for fault in faults)
    content = text.getvalue().encode("utf-8", "backslashreplace")
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, lambda stream: stream.write(content))


def _shown(fault: Fault) -> str:
    """The item and its file on one line, whatever characters they hold."""
    text = f"{fault.key} ({fault.path})" if fault.path else fault.key
    return "".join(letter if letter.isprintable() else "?" for letter in text)
