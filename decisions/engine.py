"""The core with everything around it that a worker needs: load, judge, and the effects; one bundle, one topic."""

from collections.abc import Sequence
from typing import Final, Self

from decisions.core import Judge, Others, Scorer
from decisions.effects import Effects, Result
from decisions.intake import Plan, Records, decode, plan, plan_ticks
from decisions.loading import Ask, Loaded, Loader, Unread
from decisions.policy import Policy
from decisions.reasons import Explainer
from decisions.writer import DocumentWriter
from featurestore.errors import SettingsError
from featurestore.session import codec
from featurestore.session.fold import FoldConfig
from featurestore.session.stages import STAGES
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.outbox import decode as decode_outbox
from featurestore.store.outbox import encode
from featurestore.store.protocols import Due, SessionReader
from featurestore.store.set_aside import SetAside
from models.bundle.bundle import Bundle
from models.heads.segments import Segments

ALL: Final = "all"
NONE: Final = "none"
USUAL: Final = "usual"
"""`order_rest` where the bundle has it: each outcome costs a session some 23 bytes."""


def chosen(outputs: Sequence[str], outcomes: str) -> list[str]:
    """Those of the outputs that the setting ``outcomes`` asks for, in their order: one of three words, or names.

    Raises:
        SettingsError: it names another one.

    >>> chosen(["add_rest", "order_rest"], "order_rest, add_rest"), chosen(["add_rest"], "none")
    (['add_rest', 'order_rest'], [])
    >>> chosen(["add_rest", "order_rest"], "usual"), chosen(["basket"], "usual")
    (['order_rest'], [])
    """
    words = {ALL: list(outputs), NONE: [], USUAL: [name for name in outputs if name == "order_rest"]}
    if (known := words.get(outcomes.strip())) is not None:
        return known
    named = [name.strip() for name in outcomes.split(",")]
    if unknown := [name for name in named if name not in outputs]:
        raise SettingsError(
            f"CLICKSTAGE_OUTCOMES (--outcomes): the bundle has no outcome {unknown[0]!r}; it has "
            f"{', '.join(outputs) or 'none'}. Write all, none, usual, or names of these"
        )
    return [name for name in outputs if name in named]


def check_outcomes(bundle: Bundle, outcomes: str) -> None:
    """Refuse a setting ``outcomes`` that the bundle cannot meet, before anything runs.

    Raises:
        SettingsError: as `chosen` does.
    """
    chosen([names[0] for names in bundle.heads.variables[len(STAGES) :]], outcomes)


class Engine:
    """Judges batches and says what they change.

    Args:
        bundle: scores feature rows.
        policy: decides.
        config: constants of the fold.
        namespace: whose keys are read and written.
        model: the bundle's id, for the documents.
        explainer: words for a stage change.
        log_decisions: whether every decision is wanted, or only the last of each session.
        others: the heads beside the stage; None for none.
        outcomes: which of their outputs documents carry; see `chosen`.
        segments: of the sessions that end; None for none.

    Raises:
        SettingsError: ``outcomes`` names one that there is not.
    """

    def __init__(
        self,
        bundle: Scorer,
        policy: Policy,
        config: FoldConfig,
        namespace: Namespace,
        model: str,
        explainer: Explainer,
        *,
        log_decisions: bool = True,
        others: Others | None = None,
        outcomes: str = ALL,
        segments: Segments | None = None,
    ) -> None:
        self.namespace: Final = namespace
        self.judge: Final = Judge(bundle, policy, config, others, segments)
        outputs = () if others is None else [names[0] for names in others.variables[len(STAGES) :]]
        shown = chosen(outputs, outcomes)
        self.writer: Final = DocumentWriter(self.judge, model, namespace.source, explainer, outputs, shown)
        self.effects: Final = Effects(self.judge, self.writer, namespace, log_decisions=log_decisions)

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        policy: Policy,
        namespace: Namespace,
        *,
        config: FoldConfig | None = None,
        log_decisions: bool = True,
        outcomes: str = ALL,
    ) -> Self:
        """The engine of a bundle with all its heads; ``config`` of the fold is that of its rules by default."""
        return cls(
            bundle,
            policy,
            config or bundle.rules.fold_config(),
            namespace,
            bundle.id,
            Explainer(bundle),
            log_decisions=log_decisions,
            others=bundle.heads,
            outcomes=outcomes,
            segments=bundle.segments,
        )

    def use_policy(self, policy: Policy) -> None:
        """Decide by another policy from the next batch on."""
        self.judge.policy = policy
        self.writer.use_policy()
        self.effects.use_policy()

    def loader(self, reader: SessionReader, ask: Ask | None = None) -> Loader:
        """Loads what `run` needs."""
        return Loader(reader, self.namespace, self.judge.config.session_gap_ms, ask)

    @property
    def decision_ttl_ms(self) -> int:
        """See `DocumentWriter.ttl_ms`."""
        return self.writer.ttl_ms

    def run(self, batch: Plan, loaded: Loaded, decided_at: int, unread: Sequence[Unread] = ()) -> Result:
        """Judge a batch, and what that changes; states and memories are changed in place.

        Args:
            batch: events and the sessions that they touch.
            loaded: of the batch.
            decided_at: epoch ms.
            unread: what could not be loaded; the writes set it aside.
        """
        judgement = self.judge.judge(*loaded, batch.events, decided_at)
        result = self.effects.of(batch, judgement)
        if unread:
            for write, (_, first, end) in zip(result.writes, batch.spans, strict=True):
                mine = [one for one in unread if first <= one.session < end]
                write.set_aside = [SetAside(one.kind, one.name, decided_at, one.record) for one in mine]
        return result

    def warm_up(self) -> None:
        """Compile and touch everything now, so that no event waits for it: a whole batch, thrown away."""
        values: list[bytes | None] = [
            b'{"session_id":"w","type":"add_to_cart","ts":%d,"event_id":"e","visitor_id":"v","page":"p","price":1.5}'
            % t
            for t in (0, 60_000, 4_000_000)
        ]
        codec.warm_up()
        decoded = decode([Records(0, values, [0, 1, 2], [-1, -1, -1])])
        loader = self.loader(MemoryStore(self.namespace))
        for batch in (plan(decoded, 1, lambda _: -1), plan_ticks([(Shard(0), Due(["w"], []), 9_000_000)])):
            result = self.run(batch, loader.load(batch), 0)
            # What the loop does with it.
            batch.newest()
            loader.begin(batch).open([result.overlay])
            stored = encode(0, [output for outputs in result.outputs for output in outputs])
            decode_outbox(
                stored
            )  # as a takeover does: what is read from bytes cannot be written, another type to numba
