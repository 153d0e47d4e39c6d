"""What the linter says about experiments."""

from collections.abc import Iterator

from decisions.policy.model import Arm, PolicyFile
from decisions.policy.source import Path


def experiments(policy: PolicyFile) -> Iterator[tuple[Path, str, str]]:
    """Place, code and remedy of what makes an experiment say nothing."""
    owner: dict[str, tuple[str, str]] = {}
    for name, x in policy.experiments.items():
        at: Path = ("experiments", name)
        if not any(_is_control(arm) or arm.holdout for arm in x.arms.values()):
            yield (
                (*at, "arms"),
                "no-comparison",
                "every arm changes something; let one arm change nothing, or hold it out",
            )
        held = _held_out(policy, name)
        if held > 0.5:
            yield (*at, "arms"), "everybody-held-out", f"{held:.0%} of all traffic sees no action; 5 to 10 % do"
        for action in {old for arm in x.arms.values() for old in arm.replace}:
            layer = x.layer or name
            other, other_layer = owner.setdefault(action, (name, layer))
            if other != name and other_layer != layer:
                yield at, "overlapping-experiments", f"{other!r} changes {action!r} too; put both into one `layer`"
        for other in policy.experiments:
            if other != name and _held_out(policy, other) and not _same_layer(policy, name, other):
                lost = f"{other!r} holds out {_held_out(policy, other):.0%} of its shoppers, who then see no arm of it"
                yield at, "overlapping-holdout", f"{lost}; put both into one `layer`"


def _held_out(policy: PolicyFile, name: str) -> float:
    """Part of all traffic that an experiment keeps on the neutral action."""
    x = policy.experiments[name]
    return x.share * sum(arm.share for arm in x.arms.values() if arm.holdout)


def _same_layer(policy: PolicyFile, a: str, b: str) -> bool:
    return (policy.experiments[a].layer or a) == (policy.experiments[b].layer or b)


def _is_control(arm: Arm) -> bool:
    return not arm.holdout and not arm.replace
