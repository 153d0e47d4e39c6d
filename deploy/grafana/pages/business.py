"""What is decided and what the shop gains."""

from typing import Final

from deploy.grafana.panels import Dashboard, Panel, Query, Section
from worker.metrics.catalogue import help_of

BUSINESS: Final = Dashboard(
    uid="clickstage-business",
    title="Clickstage / Decisions and KPIs",
    description="What is decided and why, and what the shop gains: conversion, order value, recovered drop-offs, by "
    "stage and arm.",
    span="now-24h",
    sections=[
        Section(
            "Decisions",
            [
                Panel(
                    "By stage",
                    "Decisions per second by the stage shown.",
                    "ops",
                    [Query("sum by (stage) (clickstage:decisions:rate5m)", "{{stage}}")],
                    stacked=True,
                    lowest=0,
                ),
                Panel(
                    "By route",
                    "How decisions came about: sure enough to act, fallback, neutral, held back by hysteresis, a cap, "
                    "a guardrail, a kill switch or a holdout.",
                    "ops",
                    [Query("sum by (route) (clickstage:decisions:rate5m)", "{{route}}")],
                    stacked=True,
                    lowest=0,
                ),
                Panel(
                    "Actions shown",
                    "Actions shown in sessions that finished in the last hour.",
                    "short",
                    [Query("sum by (action) (increase(clickstage_actions_shown_total[1h]))", "{{action}}")],
                    lowest=0,
                ),
                Panel(
                    "Deadlines",
                    "Sessions that fell silent, and sessions that ended, per second.",
                    "ops",
                    [Query("sum by (kind) (rate(clickstage_timers_fired_total[5m]))", "{{kind}}")],
                    lowest=0,
                ),
            ],
        ),
        Section(
            "Sessions",
            [
                Panel(
                    "Finished sessions",
                    "Sessions that finished in the last hour, by outcome. Bots do not count.",
                    "short",
                    [Query("sum by (outcome) (clickstage:sessions_finished:increase1h)", "{{outcome}}")],
                    stacked=True,
                    lowest=0,
                ),
                Panel(
                    "Conversion by last stage",
                    "Share of finished sessions with a purchase, last hour.",
                    "percentunit",
                    [Query("clickstage:conversion_ratio:1h", "{{stage}}")],
                    lowest=0,
                ),
                Panel(
                    "Order value by last stage",
                    "Mean value of an order, last hour, by the currency that the shop's events name.",
                    "currency",
                    [Query("clickstage:order_value:mean1h", "{{stage}} {{currency}}")],
                    lowest=0,
                    decimals=2,
                ),
                Panel(
                    "Recovered drop-offs",
                    "Of the sessions that were at Drop-Off Risk and had bought nothing when they left or "
                    "came back: the share that came back.",
                    "percentunit",
                    [Query("clickstage:dropoff_recovery_ratio:1h", "recovered")],
                    lowest=0,
                    highest=1,
                ),
            ],
        ),
        Section(
            "Experiments",
            [
                Panel(
                    "Conversion by arm",
                    "Share of finished sessions with a purchase, last hour. For a verdict use "
                    "`clickstage experiment analyse`: an hour is too short for one.",
                    "percentunit",
                    [Query("clickstage:arm_conversion_ratio:1h", "{{experiment}} {{arm}}")],
                    lowest=0,
                ),
                Panel(
                    "Order value by arm",
                    "Order value of each currency over all buyers of the arm, last hour.",
                    "currency",
                    [
                        Query(
                            "sum by (experiment, arm, currency) (increase(clickstage_arm_order_value_total[1h])) "
                            "/ on (experiment, arm) group_left () (sum by (experiment, arm) "
                            '(increase(clickstage_arm_sessions_total{outcome="bought"}[1h])) > 0)',
                            "{{experiment}} {{arm}} {{currency}}",
                        )
                    ],
                    lowest=0,
                    decimals=2,
                ),
                Panel(
                    "Sessions by arm",
                    "Finished sessions by arm, last hour. Arms drifting apart from their shares: check for a "
                    "sample-ratio mismatch.",
                    "short",
                    [
                        Query(
                            "sum by (experiment, arm) (increase(clickstage_arm_sessions_total[1h]))",
                            "{{experiment}} {{arm}}",
                        )
                    ],
                    lowest=0,
                ),
            ],
        ),
        Section(
            "Delayed truth",
            [
                Panel(
                    "Agreement with the rules",
                    "Macro-F1 and accuracy of the last full day's decisions against the stages that the "
                    "rules derive from the finished log. Below 0.9: ClickstageTruthLow.",
                    "percentunit",
                    [Query("clickstage_truth_macro_f1", "macro-F1"), Query("clickstage_truth_accuracy", "accuracy")],
                    limit=0.9,
                    below=True,
                    lowest=0,
                    highest=1,
                ),
                Panel(
                    "Precision by stage",
                    help_of("truth_stage_precision"),
                    "percentunit",
                    [Query("clickstage_truth_stage_precision", "{{stage}}")],
                    lowest=0,
                    highest=1,
                ),
                Panel(
                    "Sample behind the truth",
                    "Finished sessions and decisions that the figures were made of.",
                    "short",
                    [Query("clickstage_truth_sessions", "sessions"), Query("clickstage_truth_decisions", "decisions")],
                    lowest=0,
                ),
                Panel(
                    "Age of the truth",
                    "Time since the evaluation last ran. Over 26 hours: ClickstageTruthStale.",
                    "s",
                    [Query("time() - clickstage_truth_run_timestamp_seconds", "age")],
                    "stat",
                    limit=26 * 3600,
                ),
            ],
        ),
    ],
)
