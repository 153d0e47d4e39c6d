"""What a changed policy would do to experiments that are running: shoppers who change arms spoil the comparison."""

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Final

from decisions.policy.model import Experiment, PolicyFile
from decisions.policy.source import Path

_SLIVER: Final = 1e-9
"""Parts of the traffic below this come from rounding."""


def spoiled(before: PolicyFile, after: PolicyFile) -> Iterator[tuple[Path, str, str]]:
    """Place in ``after``, code and remedy of each change that an experiment cannot survive under its old salt.

    A larger or smaller ``share`` of the experiment as a whole moves nobody from arm to arm, so it is no such change.
    """
    for name, new in after.experiments.items():
        old = before.experiments.get(name)
        if old is None:
            continue
        at: Path = ("experiments", name)
        if new.salt_version < old.salt_version:
            remedy = f"an analysis takes the highest, so set `salt_version: {old.salt_version + 1}`"
            yield (*at, "salt_version"), "older-salt", f"the policy in use has salt {old.salt_version}; {remedy}"
        if new.salt_version != old.salt_version:
            continue
        remedy = f"set `salt_version: {new.salt_version + 1}`, which draws everybody anew"
        if new.unit != old.unit:
            yield (*at, "unit"), "moved-arms", f"it was drawn by {old.unit}, so shoppers would change arms; {remedy}"
        elif _moves(old, new):
            was, now = (", ".join(f"{a} {arm.share:g}" for a, arm in x.arms.items()) for x in (old, new))
            yield (*at, "arms"), "moved-arms", f"from {was} to {now}: shoppers would change arms; {remedy}"
        for arm, entry in new.arms.items():
            earlier = old.arms.get(arm)
            if earlier and (earlier.holdout, earlier.replace) != (entry.holdout, entry.replace):
                yield (*at, "arms", arm), "changed-arm", f"{arm!r} would show something else than before; {remedy}"


def _moves(old: Experiment, new: Experiment) -> bool:
    """Whether some draw falls into another arm than it did."""
    bounds = sorted({*_ends(old), *_ends(new)})
    middles = [(low + high) / 2 for low, high in pairwise([0.0, *bounds]) if high - low > _SLIVER]
    return any(_arm(old, draw) != _arm(new, draw) for draw in middles)


def _ends(experiment: Experiment) -> list[float]:
    return [*list(accumulate(arm.share for arm in experiment.arms.values()))[:-1], 1.0]


def _arm(experiment: Experiment, draw: float) -> str:
    return next(name for name, end in zip(experiment.arms, _ends(experiment), strict=True) if draw < end)
