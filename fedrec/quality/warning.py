"""What should be known before anyone trains on these features, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fedrec.data.prepared import PreparedData
from fedrec.evaluation.segments import training_counts
from fedrec.quality.geometry import Geometry
from fedrec.quality.measure import Quality
from fedrec.quality.rows import Directions, present_items
from fedrec.quality.sampling import draw_sample
from fedrec.quality.signal import Lift, measure_lift

LAUNCH_USERS = 2_000
_MANY = 0.1
_SEED = 0


def lift_warnings(data: PreparedData, names: Iterable[str]) -> list[str]:
    """A sentence for each of these modalities that shows no lift; those not there are passed over.

    At most LAUNCH_USERS users are asked, always the same. Raises DataError for damaged features.
    """
    chosen = [name for name in names if name in data.features]
    counts = training_counts(data)
    sentences = []
    for name in chosen:
        table = data.features[name]
        items = present_items(table)
        sample = draw_sample(data, items, counts, limit=LAUNCH_USERS, seed=_SEED)
        rows = Directions(table, seed=_SEED)
        lift = measure_lift(rows, sample, sample.matched, items, seed=_SEED)
        sentences += lift_sentences(name, lift)
    return sentences


def quality_warnings(quality: Quality) -> list[str]:
    """Everything to be warned of, modality by modality."""
    return [
        sentence
        for name, modality in quality.modalities.items()
        for sentence in (
            *lift_sentences(name, modality.matched),
            *geometry_sentences(name, modality.geometry),
        )
    ]


def lift_sentences(name: str, lift: Lift) -> list[str]:
    """One sentence where there is no lift over items of neighbouring popularity, else none."""
    if lift.lift is None or lift.auc is None:
        return [
            f"{name}: no user has a validation item and a history with these features, so nobody "
            "knows whether they help"
        ]
    if lift.found:
        return []
    return [
        f"{name}: no lift over unseen items of the same popularity (AUC {lift.auc.mean:.3f}, 95 % "
        f"interval {lift.auc.low:.3f} to {lift.auc.high:.3f}, {lift.users} users; chance is .5): "
        "an expert trained on these features may have nothing to learn"
    ]


def geometry_sentences(name: str, geometry: Geometry) -> Iterator[str]:
    """Sentences about rows that no encoder should give."""
    if geometry.norms_off:
        yield (
            f"{name}: {geometry.norms_off:.1%} of the rows do not have length 1 "
            f"({geometry.norm_low:.3f} to {geometry.norm_high:.3f})"
        )
    if geometry.collapsed and geometry.collapsed > _MANY * geometry.dim:
        yield f"{name}: {geometry.collapsed} of {geometry.dim} dimensions do not vary over items"
    if geometry.present and geometry.duplicates.exact > _MANY * geometry.present:
        yield (
            f"{name}: {geometry.duplicates.exact} of {geometry.present} items share their features "
            f"with another, up to {geometry.duplicates.exact_group} the same"
        )
