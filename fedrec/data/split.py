"""What of each user's history is for training, and which interactions are held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError

SPLITS = ("leave-one-out", "global-time", "given")  # the first is the default
LABELS = ("training", "validation", "test")  # of a given split; a label is an index into this
VALIDATION_QUANTILE = 0.8  # of global-time, unless told otherwise
TEST_QUANTILE = 0.9
NO_TARGET = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitRule:
    """leave-one-out, given, or global-time with its two boundaries in units of the data's times."""

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
    return _by_spans(offsets, timestamps, validation_time, test_time)


def given_labels(offsets: NDArray[np.int64], labels: NDArray[np.uint8]) -> HeldOut:
    """Train on what the publisher labelled so; targets are a user's last one of each other label.

    offsets: int64 [users + 1]; labels: uint8 [interactions], indices into LABELS, ascending within
    a user. A target needs one interaction of its user before it.
    Raises DataError for labels that are none, or not ascending.
    """
    if len(labels) != offsets[-1] or (len(labels) and labels.max() >= len(LABELS)):
        raise DataError(
            f"{len(labels)} labels up to {labels.max(initial=0)} for {offsets[-1]} interactions, "
            f"expected one each, 0 to {len(LABELS) - 1}"
        )
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    backwards = (users[1:] == users[:-1]) & (labels[1:] < labels[:-1])
    if backwards.any():
        at = int(np.argmax(backwards))
        raise DataError(
            f"user {users[at]} has an interaction labelled {LABELS[labels[at + 1]]} after one "
            f"labelled {LABELS[labels[at]]}"
        )
    return _by_spans(offsets, labels, 1, 2)


def hold_out(
    rule: SplitRule,
    offsets: NDArray[np.int64],
    timestamps: NDArray[np.int64] | None,
    labels: NDArray[np.uint8] | None = None,
) -> HeldOut:
    """Apply a rule. timestamps and labels may be None where the rule does not look at them."""
    if rule.rule == "leave-one-out":
        return leave_one_out(np.diff(offsets))
    if rule.rule == "given":
        if labels is None:
            raise DataError("a given split needs the labels of the interactions")
        return given_labels(offsets, labels)
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


def _by_spans(
    offsets: NDArray[np.int64], values: NDArray[np.integer[Any]], validation: int, test: int
) -> HeldOut:
    before_validation = _count_below(offsets, values, validation)
    before_test = _count_below(offsets, values, test)
    return HeldOut(
        train_end=before_validation,
        validation=_last_of_span(before_validation, before_test),
        test=_last_of_span(before_test, np.diff(offsets)),
    )


def _count_below(
    offsets: NDArray[np.int64], values: NDArray[np.integer[Any]], bound: int
) -> NDArray[np.int64]:
    running = np.concatenate(([0], np.cumsum(values < bound)))
    counts: NDArray[np.int64] = np.diff(running[offsets]).astype(np.int64)
    return counts


def _last_of_span(start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where((end > start) & (end >= 2), end - 1, NO_TARGET)
