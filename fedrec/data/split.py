"""What of each user's history is for training, and which interactions are held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError

SPLITS = ("leave-one-out", "global-time")  # the first is the default
VALIDATION_QUANTILE = 0.8  # of global-time, unless told otherwise
TEST_QUANTILE = 0.9
NO_TARGET = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitRule:
    """leave-one-out, or global-time with its two boundaries in units of the data's timestamps."""

    rule: str
    validation_time: int | None = None
    test_time: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """Per user, int64 [users]: train_end, the number of leading interactions to train on;
    validation and test, the index of the target within the user's history, -1 for none."""

    train_end: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def leave_one_out(lengths: NDArray[np.int64]) -> HeldOut:
    """Last interaction: test. Last but one: validation. Users with fewer than three: none.

    lengths: int64 [users], interactions of each user.
    """
    enough = lengths >= 3
    return HeldOut(
        train_end=np.where(enough, lengths - 2, lengths),
        validation=np.where(enough, lengths - 2, NO_TARGET),
        test=np.where(enough, lengths - 1, NO_TARGET),
    )


def global_time(
    offsets: NDArray[np.int64],
    timestamps: NDArray[np.int64],
    *,
    validation_time: int,
    test_time: int,
) -> HeldOut:
    """Train before validation_time; targets are a user's last interaction in each later span.

    offsets: int64 [users + 1]; timestamps: int64 [interactions], ascending within a user. The
    spans are [validation_time, test_time) and [test_time, ...). A target needs one interaction of
    its user before it.
    Raises DataError unless validation_time < test_time.
    """
    if validation_time >= test_time:
        raise DataError(f"validation_time {validation_time} is not before test_time {test_time}")
    before_validation = _count_before(offsets, timestamps, validation_time)
    before_test = _count_before(offsets, timestamps, test_time)
    lengths = np.diff(offsets)
    return HeldOut(
        train_end=before_validation,
        validation=_last_of_span(before_validation, before_test),
        test=_last_of_span(before_test, lengths),
    )


def hold_out(
    rule: SplitRule, offsets: NDArray[np.int64], timestamps: NDArray[np.int64] | None
) -> HeldOut:
    """Apply a rule. timestamps may be None where the rule does not look at them."""
    if rule.rule == "leave-one-out":
        return leave_one_out(np.diff(offsets))
    if rule.rule != "global-time":
        raise DataError(f"unknown split {rule.rule!r}; allowed: {', '.join(SPLITS)}")
    if timestamps is None or rule.validation_time is None or rule.test_time is None:
        raise DataError("a global-time split needs timestamps, validation_time and test_time")
    return global_time(
        offsets, timestamps, validation_time=rule.validation_time, test_time=rule.test_time
    )


def quantile_times(
    timestamps: NDArray[np.int64], validation_quantile: float, test_quantile: float
) -> tuple[int, int]:
    """The timestamps of the interactions at these shares of all interactions, in time order.

    Raises DataError unless 0 < validation_quantile < test_quantile < 1 and the times differ.
    """
    if not 0 < validation_quantile < test_quantile < 1:
        raise DataError(
            f"quantiles {validation_quantile} and {test_quantile}, expected "
            "0 < validation_quantile < test_quantile < 1"
        )
    places = [int(len(timestamps) * share) for share in (validation_quantile, test_quantile)]
    validation_time, test_time = np.partition(timestamps, places)[places].tolist()
    if validation_time == test_time:
        raise DataError(
            f"both quantiles fall on the time {test_time}; give validation_time and test_time"
        )
    return validation_time, test_time


def describe_split(rule: SplitRule, held_out: HeldOut) -> dict[str, Any]:
    """The content of split.json, without the checksums."""
    times = {"validation_time": rule.validation_time, "test_time": rule.test_time}
    return {
        "rule": rule.rule,
        **{name: time for name, time in times.items() if time is not None},
        "users": len(held_out.train_end),
        "validation_users": int((held_out.validation >= 0).sum()),
        "test_users": int((held_out.test >= 0).sum()),
    }


def partition_users(num_users: int, index: int, count: int) -> range:
    """The users of node `index` of `count`: contiguous, disjoint, sizes differ by one at most.

    Raises DataError unless 0 <= index < count and num_users >= 0.
    """
    if not 0 <= index < count or num_users < 0:
        raise DataError(f"partition {index} of {count} over {num_users} users does not exist")
    return range(num_users * index // count, num_users * (index + 1) // count)


def _count_before(
    offsets: NDArray[np.int64], timestamps: NDArray[np.int64], time: int
) -> NDArray[np.int64]:
    running = np.concatenate(([0], np.cumsum(timestamps < time)))
    counts: NDArray[np.int64] = np.diff(running[offsets]).astype(np.int64)
    return counts


def _last_of_span(start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where((end > start) & (end >= 2), end - 1, NO_TARGET)
