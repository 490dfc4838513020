"""What every reader hands over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fedrec.data.archive import Source
from fedrec.data.catalogue import Catalogue
from fedrec.data.interactions import Interactions


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Names of columns, for readers of files that do not fix them; None: the reader's own default.

    position: a column that orders one user's interactions and stands for the time. items: a file
    that describes the items, with the item column, and title, text, genres, image where known.
    """

    user: str | None = None
    item: str | None = None
    time: str | None = None
    position: str | None = None
    items: Path | None = None


NO_COLUMNS = Columns()


@dataclass(frozen=True, kw_only=True, slots=True)
class RawData:
    """Interactions in the order of the source, and what it says about the items.

    own_feature_keys: feature files know an item that is not described by the item's own key.
    notes: what people should know about the source, for the manifest.
    """

    interactions: Interactions
    catalogue: Catalogue
    own_feature_keys: bool = True
    notes: tuple[str, ...] = ()

    def feature_keys(self, keys: Iterable[str]) -> list[str | None]:
        """The ids under which feature files know the items of these keys, None: not at all."""
        fallback = self.own_feature_keys
        return [
            self.catalogue[key].feature_key if key in self.catalogue else key if fallback else None
            for key in keys
        ]


Reader = Callable[[Source, Columns], RawData]
