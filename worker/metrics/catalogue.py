"""The catalogue: every metric that Clickstage exports, with its help, unit and closed sets of label values.

Nothing else in the repository invents a metric name. Alert rules, dashboards and `docs/monitoring.md` are compared
with this list by tests. Label values never come from the outside world (`labels`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from decisions.policy.vocabulary import ROUTES
from featurestore.contract.decode import OUTCOMES as FIELD_OUTCOMES
from featurestore.contract.event import EVENT_TYPES, FIELDS
from featurestore.session.features import FEATURES
from featurestore.session.stages import STAGES
from featurestore.store.set_aside import KINDS
from worker.metrics.labels import (
    BATCH_BOUNDS,
    CURRENCIES_AT_FIRST,
    DEAD_LETTER_REASONS,
    LATENCY_BOUNDS_S,
    OPEN,
    OTHER,
    OUTCOMES,
    PARTITIONERS,
    RECOVERY_OUTCOMES,
    RELOAD_OUTCOMES,
    REWIND_CAUSES,
    SESSION_OUTCOMES,
    SKEW_BOUNDS_S,
    STAGES_OR_NONE,
    STEP_BOUNDS_S,
    STEPS,
    STORE_OPS,
    TIMER_KINDS,
)


class Kind(Enum):
    """The type of a metric, as Prometheus names it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Spec:
    """One metric.

    Parameters
    ----------
    name
        Without the prefix; counters end in ``_total``, units are part of the name.
    labels
        Label name to its closed set of values; `OPEN` where the bundle or the policy file decides.
    bounds
        Upper bounds of a histogram's buckets, ascending, without +Inf.
    source
        Who writes it: ``worker`` at /metrics, or ``evaluate`` to a file for the node exporter's textfile collector.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    source: str = "worker"

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


PREFIX: Final = "clickstage_"

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_FEATURE: Final = {"feature": FEATURES}
_FEATURE_BIN: Final = {"feature": FEATURES, "bin": OPEN}
_STAGE: Final = {"stage": STAGES}

CATALOGUE: Final[tuple[Spec, ...]] = (
    # -- the stream
    Spec(
        "events_total",
        _C,
        "events",
        "Records read from the clicks topic, by what became of them.",
        {"outcome": OUTCOMES},
    ),
    Spec(
        "events_by_type_total",
        _C,
        "events",
        "Events applied, by the type that they name; types that the contract does not know are `other`.",
        {"type": (*EVENT_TYPES, OTHER)},
    ),
    Spec(
        "decisions_total",
        _C,
        "decisions",
        "Decisions made, by stage shown and route taken.",
        {"stage": STAGES, "route": ROUTES},
    ),
    Spec(
        "event_to_decision_seconds",
        _H,
        "seconds",
        "Time from an event's timestamp in Kafka to its decision being readable in Redis; without records older than "
        "half an hour, as a replay has them.",
        bounds=LATENCY_BOUNDS_S,
    ),
    Spec(
        "batch_seconds",
        _H,
        "seconds",
        "Time spent in each step of the loop, per batch.",
        {"step": STEPS},
        STEP_BOUNDS_S,
    ),
    Spec("batch_events", _H, "events", "Events per batch.", bounds=BATCH_BOUNDS),
    Spec(
        "consumer_lag",
        _G,
        "events",
        "Events in the partition that this worker has not applied. A partition that was lost is shown as it was left, "
        "until the group has another owner for it.",
        {"partition": OPEN},
    ),
    Spec("assigned_partitions", _G, "partitions", "Partitions that this worker owns now."),
    Spec("topic_partitions", _G, "partitions", "Partitions of the clicks topic; the workers together should own all."),
    Spec(
        "dead_letters_total", _C, "records", "Records moved to the dead letter topic.", {"reason": DEAD_LETTER_REASONS}
    ),
    Spec(
        "held_partitions",
        _G,
        "partitions",
        "Owned partitions of which nothing more is read, since too many of their records are no events; "
        "`clickstage dlq pass` lets them go on.",
    ),
    Spec("duplicates_skipped_total", _C, "events", "Events skipped since their event_id was among the session's last."),
    Spec("late_events_total", _C, "events", "Events applied although older than the session's latest event."),
    Spec("placement_checked_total", _C, "records", "Records whose partition was compared with their key's: a sample."),
    Spec(
        "misplaced_records_total",
        _C,
        "records",
        "Of these, records in another partition than their key belongs to, by the partitioner that does so: their "
        "sessions are split.",
        {"partitioner": PARTITIONERS},
    ),
    Spec(
        "event_field_problems_total",
        _C,
        "fields",
        "Fields of events that were repaired, lost, or ignored as junk, by field; the events count.",
        {"field": tuple(FIELDS), "outcome": FIELD_OUTCOMES},
    ),
    Spec(
        "event_clock_skew_seconds",
        _H,
        "seconds",
        "How much earlier than its Kafka record an event says it was sent, or without sent_ts that it happened: "
        "a slow clock or a late event above 0, a fast clock below.",
        bounds=SKEW_BOUNDS_S,
    ),
    Spec(
        "clock_corrected_events_total",
        _C,
        "events",
        "Events whose clock was off by more than ten seconds, or that were under way for longer, and were corrected.",
    ),
    Spec(
        "foreign_currency_amounts_total",
        _C,
        "events",
        "Events whose amounts were left out because their session's money is in another currency.",
    ),
    Spec("unknown_types_total", _C, "events", "Events of a type that the contract does not know, counted as click."),
    Spec(
        "timers_fired_total",
        _C,
        "timers",
        "Deadlines that passed: a session fell silent, or ended.",
        {"kind": TIMER_KINDS},
    ),
    Spec(
        "ready",
        _G,
        "bool",
        "1 while Redis answers and each partition moves or is proven to be read to its end, or the worker is spare.",
    ),
    # -- what could hurt
    Spec("store_retries_total", _C, "retries", "Calls to Redis that were repeated.", {"op": STORE_OPS}),
    Spec("store_paused_seconds_total", _C, "seconds", "Time spent paused because Redis or Kafka did not take writes."),
    Spec(
        "rewinds_total",
        _C,
        "rewinds",
        "Times a partition was read again from an older offset.",
        {"cause": REWIND_CAUSES},
    ),
    Spec(
        "corrupt_records_total",
        _C,
        "records",
        "Stored records that could not be read. They were set aside, and what they were of began anew.",
        {"kind": KINDS},
    ),
    Spec("log_gaps_total", _C, "gaps", "Times the wanted offset was gone from Kafka: events between were lost."),
    Spec("lost_offsets_total", _C, "offsets", "Offsets inside such gaps; an upper bound of the events lost."),
    Spec("commit_failures_total", _C, "commits", "Offset commits that Kafka refused; the next one covers them."),
    Spec(
        "policy_reloads_total",
        _C,
        "reloads",
        "Times the policy file changed, by whether it was accepted.",
        {"outcome": RELOAD_OUTCOMES},
    ),
    Spec("log_lines_suppressed_total", _C, "lines", "Log lines held back by the rate limit."),
    Spec("bundle_info", _G, "info", "1; the model bundle in use.", {"bundle": OPEN, "version": OPEN, "baseline": OPEN}),
    Spec("policy_info", _G, "info", "1; the policy in use.", {"policy": OPEN, "hash": OPEN}),
    # -- drift: counters add up over the fleet, gauges are this worker's sliding window
    Spec(
        "feature_bin_total",
        _C,
        "rows",
        "Scored rows by feature and frozen bin of the bundle; missing is a bin.",
        _FEATURE_BIN,
    ),
    Spec("feature_baseline_share", _G, "ratio", "Share of the training rows in that bin.", _FEATURE_BIN),
    Spec(
        "feature_bin_upper_edge",
        _G,
        "feature units",
        "Upper edge of the bin (inclusive); +Inf for the last.",
        _FEATURE_BIN,
    ),
    Spec("feature_sum_total", _C, "feature units", "Sum of the feature over the rows that have it.", _FEATURE),
    Spec("feature_values_total", _C, "rows", "Rows that have the feature.", _FEATURE),
    Spec("feature_baseline_mean", _G, "feature units", "Mean of the feature in training.", _FEATURE),
    Spec(
        "feature_baseline_sd", _G, "feature units", "Standard deviation in training; 0 when it was constant.", _FEATURE
    ),
    Spec("predicted_stage_total", _C, "rows", "Scored rows by the model's stage, before hysteresis.", _STAGE),
    Spec("rule_stage_total", _C, "rows", "Scored rows by the stage that the bundle's rules derive.", _STAGE),
    Spec(
        "stage_agreement_total",
        _C,
        "rows",
        "Scored rows by the stage that the rules derive and by whether the model says the same.",
        {"stage": STAGES, "agrees": ("yes", "no")},
    ),
    Spec("stage_baseline_share", _G, "ratio", "Share of the stage in training.", _STAGE),
    Spec(
        "drift_sessions_total", _C, "sessions", "Sessions that were scored for the first time: the independent sample."
    ),
    Spec("drift_minimum", _G, "sessions", "Sessions needed before a drift figure is published."),
    Spec("drift_window_events", _G, "rows", "Scored rows in this worker's window."),
    Spec("drift_window_sessions", _G, "sessions", "Sessions that began in this worker's window."),
    Spec(
        "feature_psi",
        _G,
        "PSI",
        "Population stability index against training; absent while the sample is too small.",
        _FEATURE,
    ),
    Spec(
        "feature_mean_shift_sd",
        _G,
        "sd",
        "Shift of the mean in training standard deviations; absent if muted or constant.",
        _FEATURE,
    ),
    Spec("stage_share", _G, "ratio", "Share of scored rows per predicted stage.", _STAGE),
    Spec("stage_share_shift_pp", _G, "percentage points", "Change of that share against training.", _STAGE),
    Spec("stage_kl_divergence", _G, "nats", "KL divergence of the predicted from the rule-derived stage shares."),
    Spec("head_rows_total", _C, "rows", "Rows that a head of the bundle scored.", {"head": OPEN}),
    Spec(
        "head_output_sum_total",
        _C,
        "output units",
        "Sum of a head's output over those rows: for a probability, how many times the outcome is expected.",
        {"head": OPEN, "output": OPEN},
    ),
    Spec(
        "head_output_baseline",
        _G,
        "output units",
        "Mean of the output's target in training: the share of a class, a base rate, or a mean value.",
        {"head": OPEN, "output": OPEN},
    ),
    Spec(
        "outcomes_expected_total",
        _C,
        "outcomes",
        "Sum of the probabilities of finished sessions by head, at the first event in each tenth of the training log.",
        {"head": OPEN, "tenth": OPEN},
    ),
    Spec(
        "outcomes_observed_total",
        _C,
        "outcomes",
        "Those of the same events after which the outcome came.",
        {"head": OPEN, "tenth": OPEN},
    ),
    # -- business
    Spec(
        "sessions_finished_total",
        _C,
        "sessions",
        "Finished sessions, by last stage and outcome.",
        {"stage": STAGES_OR_NONE, "outcome": SESSION_OUTCOMES},
    ),
    Spec(
        "order_value_total",
        _C,
        "currency",
        "Value of the orders of finished sessions, by the currency that they name.",
        {"stage": STAGES_OR_NONE, "currency": CURRENCIES_AT_FIRST},
    ),
    Spec(
        "paying_sessions_total",
        _C,
        "sessions",
        "Finished sessions with a purchase, by the currency that they name: what a mean order value divides by.",
        {"stage": STAGES_OR_NONE, "currency": CURRENCIES_AT_FIRST},
    ),
    Spec(
        "dropoff_sessions_total",
        _C,
        "sessions",
        "Finished sessions that were at Drop-Off Risk, by how they went on.",
        {"outcome": RECOVERY_OUTCOMES},
    ),
    Spec("actions_shown_total", _C, "actions", "Actions shown in finished sessions.", {"action": OPEN}),
    Spec(
        "arm_sessions_total",
        _C,
        "sessions",
        "Finished sessions by experiment arm and outcome.",
        {"experiment": OPEN, "arm": OPEN, "outcome": SESSION_OUTCOMES},
    ),
    Spec(
        "arm_order_value_total",
        _C,
        "currency",
        "Value of the orders by experiment arm and by the currency that they name.",
        {"experiment": OPEN, "arm": OPEN, "currency": CURRENCIES_AT_FIRST},
    ),
    # -- delayed truth, written by `clickstage evaluate --live`
    Spec(
        "truth_macro_f1",
        _G,
        "ratio",
        "Macro F1 of the decisions of the last full day against rule-derived stages.",
        source="evaluate",
    ),
    Spec(
        "truth_accuracy",
        _G,
        "ratio",
        "Share of those decisions whose stage equals the rule-derived one.",
        source="evaluate",
    ),
    Spec(
        "truth_stage_precision",
        _G,
        "ratio",
        "Share of sessions shown that stage which ended as the stage foretells.",
        _STAGE,
        source="evaluate",
    ),
    Spec("truth_sessions", _G, "sessions", "Finished sessions behind those figures.", source="evaluate"),
    Spec("truth_decisions", _G, "decisions", "Decisions behind those figures.", source="evaluate"),
    Spec("truth_run_timestamp_seconds", _G, "seconds", "When the figures were computed, Unix time.", source="evaluate"),
)


def help_of(name: str) -> str:
    """The words for a metric, for dashboards and documents."""
    return next(spec.help for spec in CATALOGUE if spec.name == name)


def table() -> str:
    """The catalogue as a Markdown table; that of docs/monitoring.md is generated by this."""
    rows = ["| metric | type | unit | labels | meaning |", "|---|---|---|---|---|"]
    for spec in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        rows.append(f"| `{spec.name}` | {spec.kind.value} | {spec.unit} | {labels} | {spec.help} |")
    return "\n".join(rows)
