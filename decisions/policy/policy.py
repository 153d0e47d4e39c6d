"""A policy, ready to decide."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decisions.experiments.arms import BITS_PER_EXPERIMENT, enrol_many
from decisions.policy.compile import compile_policy
from decisions.policy.conditions import VARIABLES, HeadOutputs, compared, numbers
from decisions.policy.engine import decide_rows
from decisions.policy.model import Action, PolicyFile, Rule, action_ids, load
from decisions.policy.source import MAX_BYTES
from decisions.policy.vocabulary import DECISION
from featurestore.errors import PolicyError
from featurestore.files import read_regular
from featurestore.session.features import N_FEATURES
from featurestore.session.layout import MEMORY, STATE
from featurestore.session.observation import CONTEXT, EVENT_ROW, OBSERVATION, Observations
from featurestore.session.stages import STAGES
from featurestore.session.visitors import NOBODY


class Asked(NamedTuple):
    """What a rule asks of an outcome.

    Attributes:
        column: of the outputs of the heads beside the stage.
        names: of the output.
        condition: as the policy says it.
    """

    column: int
    names: Sequence[str]
    condition: str


@dataclass(frozen=True)
class Policy:
    """A compiled policy; immutable, safe to share between threads.

    Attributes:
        file: what marketing wrote, checked.
        hash: 8 hex digits over the content, in each decision.
        action_names: by action number; 0 is "none".
        action_ids: persisted id by action number, as kept in a session's memory.
        outputs: of the heads that its conditions may name.
    """

    file: PolicyFile
    hash: str
    action_names: tuple[str, ...]
    action_ids: tuple[int, ...]
    _tables: NDArray[np.void]
    outputs: HeadOutputs = ()

    @classmethod
    def from_text(cls, text: str, name: str = "policy.yaml", outputs: HeadOutputs = ()) -> "Policy":
        """Check and compile the text of a policy; ``name`` stands in errors.

        Its conditions may name the ``outputs`` of the heads of the bundle that it is used with.

        Raises:
            PolicyFileError: with file, line and remedy of every problem.
        """
        file, _ = load(text, name, outputs)
        return cls(file, file.hash, file.action_names, action_ids(file), compile_policy(file, outputs), outputs)

    @classmethod
    def from_file(cls, path: str | Path, outputs: HeadOutputs = ()) -> "Policy":
        """Check and compile a policy file; ``outputs`` as for `from_text`.

        Raises:
            PolicyError: the file cannot be read or is wrong.
        """
        return cls.from_text(read_policy(path), str(path), outputs)

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
        observations: Observations,
        probabilities: NDArray[np.float64],
        outputs: NDArray[np.float64],
        states: NDArray[np.void],
        memories: NDArray[np.void],
        profiles: NDArray[np.void],
    ) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """One decision per observation, in log order; ``memories`` change in place. Does not block, has no clock.

        Args:
            observations: what the fold saw.
            probabilities: in `STAGES` order, shape (n, 4); read for EVENT and SILENCE rows only.
            outputs: of the heads after the stage, shape (n, k).
            states: as the fold left them, by session index: what their visitors were shown before is filled in.
            memories: rows of `MEMORY` by session index; zero for a session without decisions.
            profiles: as the fold found them. Sessions that end are entered, and read by the visitor's next one.

        Returns:
            Rows of `DECISION`, shape (n,), and the memory as it was at each END row: a new session may have begun
            under the same index since.
        """
        rows, features, context, over, *_ = observations
        if probabilities.shape[1] + outputs.shape[1] < len(self.outputs):
            raise ValueError("the policy was compiled for more heads than were scored")
        out = np.empty(rows.size, DECISION)
        ended = np.zeros(over.size, MEMORY)
        decide_rows(
            rows, features, probabilities, outputs, context, memories, profiles, states, over, self._tables, out, ended
        )  # fmt: skip
        return out, ended

    def enrol(self, sessions: NDArray[np.uint64], visitors: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The arms of shoppers, packed as in a decision; shape (n,)."""
        out = np.empty(sessions.size, np.uint32)
        enrol_many(sessions, visitors, self._tables, out)
        return out

    @cached_property
    def arms(self) -> Mapping[int, dict[str, str]]:
        """Packed arms in words: experiment -> ``arm@salt_version``, for the experiments that the shopper is in."""
        return _Arms(self.file)

    def arms_of(self, bits: int) -> dict[str, str]:
        """One entry of `arms`; KeyError for a combination that this policy cannot have drawn."""
        return self.arms[bits]

    @cached_property
    def outcome_rules(self) -> Mapping[int, tuple[Asked, ...]]:
        """Of each rule that asks for outcomes, by its number in a decision: the outputs that it asks for, and how."""
        rules = [rule for name in STAGES if (stage := self.file.stages.get(name)) for rule in stage.rules]
        asked = ((n, _outcomes_asked(rule, self.outputs)) for n, rule in enumerate(rules, 1))
        return {n: words for n, words in asked if words}

    @cached_property
    def action_of(self) -> Mapping[int, str]:
        """The name behind each action id that a memory holds; a reload may have removed some."""
        return dict(zip(self.action_ids, self.action_names, strict=True))

    def action(self, number: int) -> Action | None:
        """The entry of an action, None for "none"."""
        return self.file.actions.get(self.action_names[number])

    @cached_property
    def shown(self) -> Mapping[str, tuple[str, dict[str, float]]]:
        """Label and parameters of each action: what a page needs to show it as the policy grants it."""
        return {name: (action.label, action.parameters) for name, action in self.file.actions.items()}

    def warm_up(self) -> None:
        """Compile the loop now, so that no event waits for it."""
        rows = np.zeros(1, OBSERVATION)
        rows["kind"] = EVENT_ROW
        probabilities = np.full((1, len(STAGES)), 1 / len(STAGES))
        seen = Observations(rows, np.zeros((1, N_FEATURES)), np.zeros(1, CONTEXT), np.zeros(0, STATE), 0, 0)
        self.decide(seen, probabilities, np.zeros((1, 0)), np.zeros(1, STATE), np.zeros(1, MEMORY), NOBODY)
        self.enrol(np.ones(1, np.uint64), np.ones(1, np.uint64))


def _outcomes_asked(rule: Rule, outputs: HeadOutputs) -> tuple[Asked, ...]:
    number = numbers(outputs)
    first = len(VARIABLES) + len(STAGES)
    asked: dict[int, list[str]] = {}
    for condition in rule.conditions():
        variable, _ = compared(condition, outputs)
        if number[variable] >= first:
            asked.setdefault(number[variable] - first, []).append(str(condition))
    return tuple(Asked(j, outputs[len(STAGES) + j], " and ".join(words)) for j, words in asked.items())


class _Arms(Mapping[int, dict[str, str]]):
    """Words for packed arms, made when first asked for: eight experiments have billions of combinations."""

    def __init__(self, file: PolicyFile) -> None:
        self._experiments = [(name, x.salt_version, tuple(x.arms)) for name, x in file.experiments.items()]
        self._known: dict[int, dict[str, str]] = {}

    def __getitem__(self, bits: int) -> dict[str, str]:
        if bits not in self._known:
            words = {}
            for e, (name, salt_version, arms) in enumerate(self._experiments):
                arm = bits >> (BITS_PER_EXPERIMENT * e) & 15
                if arm > len(arms):
                    raise KeyError(bits)
                if arm:
                    words[name] = f"{arms[arm - 1]}@{salt_version}"
            self._known[bits] = words
        return self._known[bits]

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def load_file(path: str | Path) -> PolicyFile:
    """A checked policy that decides nothing: its conditions may name the heads of any bundle.

    Raises:
        PolicyError: the file cannot be read or is wrong.
    """
    return load(read_policy(path), str(path), None)[0]


def read_policy(path: str | Path) -> str:
    """The text of a policy file.

    Raises:
        PolicyError: with the remedy.
    """
    try:
        return read_regular(Path(path), 4 * MAX_BYTES).decode()
    except UnicodeDecodeError:
        raise PolicyError(f"{path}:1: not UTF-8; save the file as plain text in UTF-8") from None
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror}); check the path and the rights") from None
