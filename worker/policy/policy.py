"""A policy, ready to decide."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import PolicyError
from featurestore.features import N_FEATURES
from featurestore.session import CONTEXT, EVENT_ROW, MEMORY, OBSERVATION
from featurestore.stages import STAGES
from worker.experiments import BITS_PER_EXPERIMENT, enrol_many
from worker.policy.compile import compile_policy
from worker.policy.engine import decide_rows
from worker.policy.model import Action, PolicyFile, action_ids, load
from worker.policy.vocabulary import DECISION

_NO_MEMORY: Final = np.zeros(0, MEMORY)


@dataclass(frozen=True)
class Policy:
    """A compiled policy; immutable, safe to share between threads.

    Attributes:
        file: what marketing wrote, checked.
        hash: 12 hex digits over the content, in each decision.
        action_names: by action number; 0 is "none".
        action_ids: persisted id by action number, as kept in a session's memory.
    """

    file: PolicyFile
    hash: str
    action_names: tuple[str, ...]
    action_ids: tuple[int, ...]
    _tables: NDArray[np.void]

    @classmethod
    def from_text(cls, text: str, name: str = "policy.yaml") -> "Policy":
        """Check and compile the text of a policy; ``name`` stands in errors.

        Raises:
            PolicyFileError: with file, line and remedy of every problem.
        """
        file, _ = load(text, name)
        return cls(file, file.hash, file.action_names, action_ids(file), compile_policy(file))

    @classmethod
    def from_file(cls, path: str | Path) -> "Policy":
        """Check and compile a policy file.

        Raises:
            PolicyError: the file cannot be read or is wrong.
        """
        return cls.from_text(read_policy(path), str(path))

    @property
    def version(self) -> str:
        """The version that marketing gave it."""
        return self.file.version

    @property
    def label(self) -> str:
        """``version+hash``: what a decision says about its policy."""
        return f"{self.version}+{self.hash}"

    def decide(
        self,
        obs: NDArray[np.void],
        features: NDArray[np.float64],
        proba: NDArray[np.float64],
        context: NDArray[np.void],
        memory: NDArray[np.void],
        ended: NDArray[np.void] | None = None,
    ) -> NDArray[np.void]:
        """One decision per observation, in log order; ``memory`` changes in place.

        Args:
            obs: rows of `session.OBSERVATION`, shape (n,).
            features: shape (n, 9), NaN where missing.
            proba: the model's probabilities in `STAGES` order, shape (n, 4); read for EVENT and SILENCE rows only.
            context: rows of `session.CONTEXT`, as it was at each observation, shape (n,).
            memory: rows of `session.MEMORY`, indexed by ``obs["slot"]``; zero for a session without decisions.
            ended: one row of `session.MEMORY` per END row; filled with the memory as it was there, since a new session
                may follow under the same slot.

        Returns:
            Rows of `DECISION`, shape (n,). Does not block, has no clock.
        """
        out = np.empty(obs.size, DECISION)
        kept = _NO_MEMORY if ended is None else ended
        decide_rows(obs, features, proba, context, memory, self._tables, out, kept)
        return out

    def arms(self, sessions: NDArray[np.uint64], visitors: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The arms of shoppers, packed as in a decision; shape (n,)."""
        out = np.empty(sessions.size, np.uint32)
        enrol_many(sessions, visitors, self._tables, out)
        return out

    def arms_of(self, bits: int) -> dict[str, str]:
        """Packed arms in words: experiment -> ``arm@salt_version``, for the experiments that the shopper is in."""
        found = {}
        for e, (name, experiment) in enumerate(self.file.experiments.items()):
            arm = bits >> (BITS_PER_EXPERIMENT * e) & 15
            if arm:
                found[name] = f"{list(experiment.arms)[arm - 1]}@{experiment.salt_version}"
        return found

    def action(self, number: int) -> Action | None:
        """The entry of an action, None for "none"."""
        return self.file.actions.get(self.action_names[number])

    def name_of_id(self, action_id: int) -> str:
        """The name of an action that a memory holds; ``retired-<id>`` where a reload removed it."""
        try:
            return self.action_names[self.action_ids.index(action_id)]
        except ValueError:
            return f"retired-{action_id}"

    def actions_shown(self, memory: np.void) -> Mapping[str, int]:
        """Showings per action in a session, from one row of `session.MEMORY`."""
        n = int(memory["n_actions"])
        pairs = zip(memory["action_id"][:n].tolist(), memory["action_count"][:n].tolist(), strict=True)
        return {self.name_of_id(action_id): count for action_id, count in pairs}

    def warm_up(self) -> None:
        """Compile the loop now, so that no event waits for it."""
        obs = np.zeros(1, OBSERVATION)
        obs["kind"] = EVENT_ROW
        proba = np.full((1, len(STAGES)), 1 / len(STAGES))
        self.decide(obs, np.zeros((1, N_FEATURES)), proba, np.zeros(1, CONTEXT), np.zeros(1, MEMORY))
        self.arms(np.ones(1, np.uint64), np.ones(1, np.uint64))


def read_policy(path: str | Path) -> str:
    """The text of a policy file.

    Raises:
        PolicyError: with the remedy.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise PolicyError(f"{path}:1: not UTF-8; save the file as plain text in UTF-8") from None
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror}); check the path and the rights") from None
