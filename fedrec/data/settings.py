"""What `prepare` is asked to do, apart from where the data comes from and goes to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fedrec.data.checksum import digest_file
from fedrec.data.ordering import REPEATS
from fedrec.data.raw import NO_COLUMNS, Columns
from fedrec.data.split import SPLITS, TEST_QUANTILE, VALIDATION_QUANTILE
from fedrec.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that shapes the prepared folder besides the files that are read.

    min_interactions: k of the k-core, 1 for no filter. split: see `fedrec.data.split`; its times
    are quantiles of all interactions unless given. require_image: drop items without an image
    feature before the filter. repeats: see `fedrec.data.ordering.kept_repeats`.
    """

    dataset: str
    min_interactions: int
    require_image: bool
    split: str = SPLITS[0]
    validation_quantile: float = VALIDATION_QUANTILE
    test_quantile: float = TEST_QUANTILE
    validation_time: int | None = None
    test_time: int | None = None
    repeats: str = REPEATS[0]
    columns: Columns = NO_COLUMNS

    def __post_init__(self) -> None:
        if self.min_interactions < 1:
            raise DataError(f"min_interactions is {self.min_interactions}, expected 1 or more")
        if self.split not in SPLITS:
            raise DataError(f"unknown split {self.split!r}; allowed: {', '.join(SPLITS)}")
        if self.repeats not in REPEATS:
            allowed = ", ".join(REPEATS)
            raise DataError(f"unknown rule for repeats {self.repeats!r}; allowed: {allowed}")
        if (self.validation_time is None) != (self.test_time is None):
            raise DataError("give both validation_time and test_time, or neither")
        if self.columns.time and self.columns.position:
            raise DataError("give a time column or a position column, not both")

    def record(self) -> dict[str, Any]:
        """As JSON for the manifest; a file of items counts by its content, not by its path."""
        recorded = asdict(self)
        items = self.columns.items
        recorded["columns"]["items"] = items and digest_file(items)
        return recorded
