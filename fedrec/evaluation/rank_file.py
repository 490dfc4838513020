"""Every user's rank in a parquet file, so that anyone can recompute every number of a run.

One row per (stage, split, protocol, user). The file holds users and their held-out items: it is
written where these are known (a simulation, a node's own disk) and is never sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedrec.data.arrow import pa, pq
from fedrec.data.atomic import write_atomically
from fedrec.data.json_files import parse_json
from fedrec.data.plain_files import check_plain
from fedrec.errors import DataError
from fedrec.evaluation.metrics import metrics_from_sums, rank_sums
from fedrec.evaluation.ranks import Ranks
from fedrec.evaluation.segments import SEGMENTS

SCHEMA = pa.schema(
    [
        ("user", pa.int64()),
        ("split", pa.string()),
        ("protocol", pa.string()),
        ("target", pa.int32()),
        ("rank", pa.int32()),
        ("candidates", pa.int32()),
        ("stage", pa.string()),
        ("segment", pa.string()),  # of the target: head, tail, cold; null where not known
    ]
)
_METADATA_KEY = b"fedrec.ranks"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFile:
    """What a rank file holds. stages: the ranks by stage, one `Ranks` per split."""

    stages: dict[str, list[Ranks]]
    metadata: dict[str, str]


def write_rank_file(
    path: Path, stages: Mapping[str, Sequence[Ranks]], *, metadata: Mapping[str, str]
) -> None:
    """Write ranks by stage to `path`; at every moment there is the old file or the new one.

    metadata: what a reader must know to repeat the run (data set, seed, ...), text by name.
    Raises DataError when a stage has two `Ranks` of one split.
    """
    for stage, parts in stages.items():
        splits = [ranks.split for ranks in parts]
        if len(set(splits)) != len(splits):
            raise DataError(f"stage {stage!r} has several ranks of one split: {splits}")
    tables = [table for stage, parts in stages.items() for table in _tables(stage, parts)]
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    described = {_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()}
    table = table.replace_schema_metadata(described)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda stream: pq.write_table(table, stream))


def read_rank_file(path: Path) -> RankFile:
    """Read what `write_rank_file` wrote. Raises DataError when the file is something else."""
    try:
        check_plain(path)
        table = pq.read_table(path, partitioning=None)  # a "=" in the path means nothing
        table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read ranks from {path}: {error}") from error
    described = (table.schema.metadata or {}).get(_METADATA_KEY)
    if described is None or not table.schema.equals(SCHEMA):
        raise DataError(f"{path} is no rank file: columns {table.column_names}")
    try:
        return RankFile(stages=_stages(table, path), metadata=parse_json(described))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no rank file: {error!r:.200}") from error


def _stages(table: pa.Table, path: Path) -> dict[str, list[Ranks]]:
    return {
        stage: [_ranks(part, split, path) for split, part in _groups(of_stage, "split")]
        for stage, of_stage in _groups(table, "stage")
    }


def metrics_from_rank_file(path: Path) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Every number again, from the file alone: `{stage: {split: {protocol: {metric: mean}}}}`."""
    return {
        stage: {ranks.split: metrics_from_sums(rank_sums(ranks), ranks.split) for ranks in parts}
        for stage, parts in read_rank_file(path).stages.items()
    }


def _tables(stage: str, parts: Sequence[Ranks]) -> Iterator[pa.Table]:
    for ranks in parts:
        count = len(ranks.users)
        segment: list[str | None] = [None] * count
        if ranks.segment is not None:
            segment = [SEGMENTS[code] for code in ranks.segment.tolist()]
        for protocol, rank in ranks.rank.items():
            columns = [
                ranks.users, [ranks.split] * count, [protocol] * count, ranks.target, rank,
                ranks.candidates[protocol], [stage] * count, segment,
            ]  # fmt: skip
            yield pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA)


def _groups(table: pa.Table, column: str) -> Iterator[tuple[str, pa.Table]]:
    """The distinct values of a text column, in order of appearance, with their rows."""
    values = np.asarray(table[column].to_pylist(), dtype=object)
    for value in dict.fromkeys(values.tolist()):
        yield value, table.filter(pa.array(values == value))


def _ranks(table: pa.Table, split: str, path: Path) -> Ranks:
    parts = dict(_groups(table, "protocol"))
    first, *others = parts.values()
    for name in ("user", "target", "segment"):
        if any(not other[name].equals(first[name]) for other in others):
            raise DataError(f"{path}: the protocols of split {split!r} differ in column {name!r}")
    segment = first["segment"].to_pylist()
    codes = None if None in segment else np.array([SEGMENTS.index(s) for s in segment], np.int8)
    return Ranks(
        split=split,
        users=first["user"].to_numpy(),
        target=first["target"].to_numpy(),
        rank={name: part["rank"].to_numpy() for name, part in parts.items()},
        candidates={name: part["candidates"].to_numpy() for name, part in parts.items()},
        segment=codes,
    )
