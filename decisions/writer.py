"""Writes the decisions of a judgement as documents, in the words of one bundle, one policy and one topic."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from decisions.core import Judge, Judgement
from decisions.encoder import DecisionEncoder, Vocabulary
from decisions.intake import Plan
from decisions.outcome import outcome
from decisions.policy.vocabulary import GUARDS, ROUTES, STAGE_CHANGED, guard_words
from decisions.reasons import Explainer, outcome_words
from featurestore.columns.jit import compiled
from featurestore.session.observation import SILENCE, Observations
from featurestore.session.stages import EXPLORER
from featurestore.store.packed import PackedDecisions


class DocumentWriter:
    """Writes documents; `use_policy` whenever the judge has another policy.

    Args:
        judge: whose policy and constants count.
        model: the bundle's id.
        source: what documents name the topic by.
        explainer: words for a stage change.
        outputs: names of the outputs of the heads beside the stage, in order.
        shown: those of them that documents carry, in that order; None for all.
    """

    def __init__(
        self,
        judge: Judge,
        model: str,
        source: str,
        explainer: Explainer,
        outputs: Sequence[str] = (),
        shown: Sequence[str] | None = None,
    ) -> None:
        self._judge = judge
        self.model = model
        self._source = source
        self._explainer = explainer
        self._outputs = tuple(outputs if shown is None else shown)
        self._columns = [tuple(outputs).index(name) for name in self._outputs]
        self.use_policy()

    def use_policy(self) -> None:
        """Take the words of the judge's policy."""
        policy = self._judge.policy
        self.words = Vocabulary(
            actions=policy.action_names,
            routes=ROUTES,
            guards=GUARDS,
            arms=policy.arms,
            model=self.model,
            policy=policy.hash,
            source=self._source,
            shown=policy.shown,
            outputs=self._outputs,
        )
        self._encoder = DecisionEncoder(self.words)

    @property
    def ttl_ms(self) -> int:
        """A decision lives as long as a session may be silent."""
        return self._judge.config.session_gap_ms

    def pack(self, plan: Plan, judgement: Judgement, at: NDArray[np.int64]) -> PackedDecisions:
        """All that the documents of some rows say; ``at`` are scored rows, ascending."""
        rows = judgement.observations.rows
        # `take` of rows of many fields costs a fraction of an index: numpy's index copies field by field.
        decisions = judgement.decisions.take(at)
        return self._encoder.pack(
            plan.sessions.take(rows["session_index"].take(at)),
            decisions,
            judgement.probabilities.take(at, axis=0),
            rows["t"].take(at),
            rows["seq"].take(at),
            self._reasons(judgement, at),
            judgement.at,
            self.ttl_ms,
            judgement.outputs.take(at, axis=0).take(self._columns, axis=1) if self.words.outputs else None,
        )

    def outputs_of(self, seen: Observations, chosen: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """The outputs of some observations that documents carry, in that order; None, unscored, if they carry none."""
        return self._judge.outputs_of(seen, chosen)[:, self._columns] if self.words.outputs else None

    def newest(self, plan: Plan, judgement: Judgement, *, provisional: bool = False) -> list[bytes | None]:
        """The document that each session's front end is to read now, as it is stored; None for one without a decision.

        A session that ended, withdrew its consent or is a bot's has none. A ``provisional`` one says so.
        """
        after = outcome(
            plan.events, judgement.observations.rows, judgement.scored, judgement.states, self._judge.config
        )
        order = np.argsort(after.row)
        documents = self.pack(plan, judgement, after.row[order]).documents()
        found: list[bytes | None] = [None] * len(plan.sessions)
        for index, document in zip(after.shown[order].tolist(), documents, strict=True):
            found[index] = document[:-1] + b',"provisional":true}' if provisional else document
        return found

    def _reasons(self, judgement: Judgement, at: NDArray[np.int64]) -> dict[int, list[str]]:
        reasons = self._stage_reasons(judgement, at)
        for i, texts in self._outcome_reasons(judgement, at).items():
            reasons[i] = [*texts, *reasons.get(i, [])]
        return reasons

    def _outcome_reasons(self, judgement: Judgement, at: NDArray[np.int64]) -> dict[int, list[str]]:
        """Where a rule that asks for an outcome chose what is new; most policies have no such rule."""
        rules = self._judge.policy.outcome_rules
        if not rules:
            return {}
        decisions = judgement.decisions[at]
        new = np.flatnonzero((decisions["changed"] != 0) & np.isin(decisions["rule"], list(rules)))
        found = {}
        for i, rule in zip(new.tolist(), decisions["rule"][new].tolist(), strict=True):
            outputs = judgement.outputs[at[i]]
            found[i] = [outcome_words(names, outputs[column], asked) for column, names, asked in rules[rule]]
        return found

    def _stage_reasons(self, judgement: Judgement, at: NDArray[np.int64]) -> dict[int, list[str]]:
        seen = judgement.observations
        told = _stage_changes(judgement.decisions, seen.features, at)
        reasons: dict[int, list[str]] = {}
        if told.size:
            decisions = judgement.decisions[at]
            # Most live sessions are silent, and keep this decision for half an hour: the strongest reason will do.
            silent = seen.rows["kind"][at[told]] == SILENCE
            words = self._explainer.words(seen.features[at[told]], decisions["stage"][told], silent)
            for i, texts, bits in zip(told.tolist(), words, decisions["guards"][told].tolist(), strict=True):
                reasons[i] = [*texts, *guard_words(bits)] if bits else texts
        return reasons


@compiled
def _stage_changes(
    decisions: NDArray[np.void], features: NDArray[np.float64], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Which of the rows ``at`` came to another stage. That a session begins as an Explorer needs no reason."""
    told = np.empty(at.size, np.int64)
    count = 0
    for i in range(at.size):
        d = decisions[at[i]]
        begins = d["stage"] == EXPLORER and features[at[i], 1] <= 1
        if d["changed"] & STAGE_CHANGED != 0 and not begins:
            told[count] = i
            count += 1
    return told[:count]
