"""Is it running, is it fast, is it right?"""

from typing import Final

from deploy.grafana.panels import Dashboard, Panel, Query, Section
from worker.metrics.catalogue import help_of

OVERVIEW: Final = Dashboard(
    uid="clickstage-overview",
    title="Clickstage / Overview",
    description="Is it running, is it fast, is it right? One look, then the page that the answer leads to.",
    sections=[
        Section(
            "Now",
            [
                Panel(
                    "Workers up",
                    "Workers that Prometheus can scrape. Red at 0: nobody decides anything.",
                    "short",
                    [Query('count(up{job="clickstage"} == 1) or vector(0)')],
                    "stat",
                    4,
                    4,
                    limit=1,
                    below=True,
                    decimals=0,
                ),
                Panel(
                    "Workers ready",
                    "Workers that own partitions and reach Kafka and Redis. Fewer than are up for minutes: "
                    "see the runbook, ClickstageNotReady.",
                    "short",
                    [Query("sum(clickstage_ready) or vector(0)")],
                    "stat",
                    4,
                    4,
                    limit=1,
                    below=True,
                    decimals=0,
                ),
                Panel(
                    "Alerts firing",
                    "Clickstage alerts that fire now.",
                    "short",
                    [Query('count(ALERTS{alertname=~"Clickstage.+", alertstate="firing"}) or vector(0)')],
                    "stat",
                    4,
                    4,
                    limit=1,
                    decimals=0,
                ),
                Panel(
                    "Events waiting",
                    "Events in Kafka that no worker has applied. Decisions are late by that much.",
                    "short",
                    [Query("clickstage:consumer_lag:sum")],
                    "stat",
                    4,
                    4,
                    limit=10_000,
                ),
                Panel(
                    "Largest drift",
                    "PSI of the feature that differs most from training, fleet, last hour. Above 0.25 the "
                    "alert fires after ten minutes. No data: too few sessions yet.",
                    "psi",
                    [Query("max(clickstage:feature_psi:1h)")],
                    "stat",
                    4,
                    4,
                    limit=0.25,
                    decimals=2,
                ),
                Panel(
                    "Not events",
                    "Share of records that went to the dead letters, last 5 minutes.",
                    "percentunit",
                    [Query("clickstage:dead_letter_ratio:5m")],
                    "stat",
                    4,
                    4,
                    limit=0.01,
                    decimals=2,
                ),
            ],
        ),
        Section(
            "Flow",
            [
                Panel(
                    "Events by outcome",
                    help_of("events_total") + " Everything but applied should be rare.",
                    "reqps",
                    [Query("clickstage:events:rate5m", "{{outcome}}")],
                    lowest=0,
                ),
                Panel(
                    "Events by type",
                    help_of("events_by_type_total") + " A type that vanishes or doubles is a tag, not shoppers.",
                    "reqps",
                    [Query("sum by (type) (rate(clickstage_events_by_type_total[5m])) > 0", "{{type}}")],
                    lowest=0,
                ),
                Panel(
                    "Decisions by stage",
                    "Decisions per second by the stage shown to the shopper.",
                    "ops",
                    [Query("sum by (stage) (clickstage:decisions:rate5m)", "{{stage}}")],
                    stacked=True,
                    lowest=0,
                ),
                Panel(
                    "Event to decision",
                    "From the event's timestamp in Kafka to its decision being readable in Redis. "
                    "The objective is 99 % within 50 ms (the red line).",
                    "s",
                    [
                        Query("clickstage:event_to_decision_seconds:p50_5m", "p50"),
                        Query("clickstage:event_to_decision_seconds:p99_5m", "p99"),
                    ],
                    limit=0.05,
                    lowest=0,
                ),
                Panel(
                    "Latency budget",
                    "How many times faster than allowed the month's 1 % of slow events is being used up. "
                    "Above 14.4 over an hour somebody is paged.",
                    "burn",
                    [
                        Query("clickstage:latency_burn_rate:5m", "5 min"),
                        Query("clickstage:latency_burn_rate:30m", "30 min"),
                        Query("clickstage:latency_burn_rate:1h", "1 h"),
                        Query("clickstage:latency_burn_rate:6h", "6 h"),
                    ],
                    limit=14.4,
                    lowest=0,
                ),
            ],
        ),
        Section(
            "Right",
            [
                Panel(
                    "Stage mix",
                    "Share of scored rows per stage the model predicts, fleet, last hour.",
                    "percentunit",
                    [Query("clickstage:stage_share:1h", "{{stage}}")],
                    stacked=True,
                    lowest=0,
                    highest=1,
                ),
                Panel(
                    "Bundles and policies in use",
                    "Workers per model bundle and per policy. More than one of a kind outside a "
                    "roll-out: ClickstageMixedFleet.",
                    "short",
                    [
                        Query("count by (bundle, version) (clickstage_bundle_info)", "bundle {{bundle}} {{version}}"),
                        Query("count by (policy, hash) (clickstage_policy_info)", "policy {{policy}} {{hash}}"),
                    ],
                    "bargauge",
                    lowest=0,
                    decimals=0,
                ),
            ],
        ),
    ],
)
