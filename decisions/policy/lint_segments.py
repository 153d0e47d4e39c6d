"""What the linter says about conditions on what a visitor's session before was."""

from collections.abc import Iterator, Sequence

from decisions.policy.conditions import EARLIER
from decisions.policy.model import PolicyFile
from decisions.policy.source import Path


def segments(policy: PolicyFile, kinds: Sequence[str]) -> Iterator[tuple[Path, str, str]]:
    """Kinds that the bundle never finds: no visitor's session before is known to have been one.

    Args:
        policy: that was loaded.
        kinds: that the bundle tells apart (`models.heads.scoring.Names`).
    """
    remedy = f"it has {', '.join(kinds)}" if kinds else "it has none; train one with `clickstage train --segments`"
    for stage, entry in policy.stages.items():
        for i, rule in enumerate(entry.rules):
            for condition in rule.conditions():
                unknown = (
                    [word for word in condition.words if word not in kinds] if condition.variable == EARLIER else []
                )
                if unknown:
                    yield (
                        ("stages", stage, "rules", i, "when"),
                        "unknown-segment",
                        f"{condition}: the bundle has no segment {', '.join(unknown)}, so this finds nobody; {remedy}",
                    )
