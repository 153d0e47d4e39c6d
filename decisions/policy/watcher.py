"""Hot reload: a changed policy file becomes the policy, a wrong one changes nothing."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from decisions.policy.changes import spoiled
from decisions.policy.policy import Policy, read_policy
from featurestore.errors import PolicyError

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0


class PolicyWatcher:
    """Looks at a policy file now and then. The owner polls between two batches, so no event meets half a change.

    Args:
        path: the file; a symlink is followed, as Kubernetes swaps them.
        policy: the policy in use, read from that file or not.
        clock: monotonic seconds.
        every_s: pause between two looks.

    Attributes:
        policy: the last good policy.
        accepted: changes taken over.
        refused: changes that were wrong; the policy before stays.
        error: the message of the last refusal, "" once the file is good again.
    """

    def __init__(self, path: str | Path, policy: Policy, clock: Callable[[], float], every_s: float = EVERY_S) -> None:
        self.policy = policy
        self._outputs = policy.outputs
        self.accepted = 0
        self.refused = 0
        self.error = ""
        self._path = Path(path)
        self._clock = clock
        self._every_s = every_s
        self._due = clock() + every_s
        self._seen: tuple[int, int, int] | None = None

    def poll(self) -> Policy | None:
        """The new policy if the file changed to a good one, else None. Reads one small file at most; raises nothing."""
        now = self._clock()
        if now < self._due:
            return None
        self._due = now + self._every_s
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return None
            policy = Policy.from_text(read_policy(self._path), str(self._path), self._outputs)
        except OSError as error:
            self._refuse(None, f"{self._path}: cannot be read ({error.strerror}); check the path and the rights")
            return None
        except PolicyError as error:
            self._refuse(seen, str(error))
            return None
        self._seen = seen
        self.error = ""
        if policy.label == self.policy.label:
            return None
        log.info("policy %s replaces %s", policy.label, self.policy.label)
        for path, _, message in spoiled(self.policy.file, policy.file):
            log.warning("%s: %s", ".".join(map(str, path)), message)
        self.policy = policy
        self.accepted += 1
        return policy

    def _refuse(self, seen: tuple[int, int, int] | None, message: str) -> None:
        if (seen is not None and seen != self._seen) or message != self.error:
            self.refused += 1
            log.error("policy refused, %s stays in use:\n%s", self.policy.label, message)
        self._seen = seen
        self.error = message
