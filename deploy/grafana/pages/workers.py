"""Where a worker's time goes and what went wrong in it."""

from typing import Final

from deploy.grafana.panels import Dashboard, Panel, Query, Section, Variable
from worker.metrics.catalogue import help_of

_ON = '{instance=~"$instance"}'

WORKERS: Final = Dashboard(
    uid="clickstage-workers",
    title="Clickstage / Worker internals",
    description="Where a worker's time goes, what it owns, and what went wrong in it.",
    variables=[Variable("instance", "Worker", "clickstage_ready", "instance", multi=True)],
    sections=[
        Section(
            "Time",
            [
                Panel(
                    "Step times",
                    "Share of a second spent in each step of the loop. Load and write are waiting for Redis while the "
                    "next batch is worked on; score is fold, score, decide and encode.",
                    "percentunit",
                    [Query(f"sum by (step) (rate(clickstage_batch_seconds_sum{_ON}[5m]))", "{{step}}")],
                    stacked=True,
                    lowest=0,
                ),
                Panel(
                    "Slow steps",
                    "99th percentile of each step's time per batch.",
                    "s",
                    [
                        Query(
                            "histogram_quantile(0.99, "
                            f"sum by (le, step) (rate(clickstage_batch_seconds_bucket{_ON}[5m])))",
                            "{{step}}",
                        )
                    ],
                    lowest=0,
                ),
                Panel(
                    "Batch size",
                    "Mean events per batch. Small when idle, large under load.",
                    "short",
                    [
                        Query(
                            f"sum by (instance) (rate(clickstage_batch_events_sum{_ON}[5m])) "
                            f"/ (sum by (instance) (rate(clickstage_batch_events_count{_ON}[5m])) > 0)",
                            "{{instance}}",
                        )
                    ],
                    lowest=0,
                ),
                Panel(
                    "Events per worker",
                    "Events applied per second.",
                    "reqps",
                    [
                        Query(
                            "sum by (instance) "
                            '(rate(clickstage_events_total{outcome="applied", instance=~"$instance"}[5m]))',
                            "{{instance}}",
                        )
                    ],
                    lowest=0,
                ),
            ],
        ),
        Section(
            "Ownership",
            [
                Panel(
                    "Lag per partition",
                    help_of("consumer_lag"),
                    "short",
                    [Query(f"max by (partition) (clickstage_consumer_lag{_ON})", "{{partition}}")],
                    lowest=0,
                ),
                Panel(
                    "Partitions per worker",
                    help_of("assigned_partitions"),
                    "short",
                    [Query(f"clickstage_assigned_partitions{_ON}", "{{instance}}")],
                    lowest=0,
                    decimals=0,
                ),
                Panel(
                    "Ready",
                    help_of("ready"),
                    "bool",
                    [Query(f"clickstage_ready{_ON}", "{{instance}}")],
                    lowest=0,
                    highest=1,
                ),
            ],
        ),
        Section(
            "Input",
            [
                Panel(
                    "Dead letters by reason",
                    help_of("dead_letters_total"),
                    "ops",
                    [Query(f"sum by (reason) (rate(clickstage_dead_letters_total{_ON}[5m]))", "{{reason}}")],
                    lowest=0,
                ),
                Panel(
                    "Held partitions",
                    help_of("held_partitions"),
                    "short",
                    [Query(f"clickstage_held_partitions{_ON}", "{{instance}}")],
                    lowest=0,
                    decimals=0,
                ),
                Panel(
                    "Odd events",
                    "Duplicates skipped, late events, unknown types; all are handled.",
                    "ops",
                    [
                        Query(f"sum(rate(clickstage_duplicates_skipped_total{_ON}[5m]))", "duplicate"),
                        Query(f"sum(rate(clickstage_late_events_total{_ON}[5m]))", "late"),
                        Query(f"sum(rate(clickstage_unknown_types_total{_ON}[5m]))", "unknown type"),
                    ],
                    lowest=0,
                ),
                Panel(
                    "Fields mended or lost",
                    help_of("event_field_problems_total"),
                    "ops",
                    [
                        Query(
                            f"sum by (field, outcome) (rate(clickstage_event_field_problems_total{_ON}[5m]))",
                            "{{field}} {{outcome}}",
                        )
                    ],
                    lowest=0,
                ),
                Panel(
                    "Clocks of senders",
                    "How far the slowest and fastest twentieth of clocks are off: above 0 slow or late, below fast.",
                    "s",
                    [
                        Query(
                            f"histogram_quantile({share}, "
                            f"sum by (le) (rate(clickstage_event_clock_skew_seconds_bucket{_ON}[5m])))",
                            label,
                        )
                        for share, label in (("0.05", "fast"), ("0.5", "median"), ("0.95", "slow"))
                    ],
                ),
                Panel(
                    "Corrected events",
                    "Clocks that were corrected, and amounts in another currency than their session's: left out.",
                    "ops",
                    [
                        Query(f"sum(rate(clickstage_clock_corrected_events_total{_ON}[5m]))", "clock"),
                        Query(f"sum(rate(clickstage_foreign_currency_amounts_total{_ON}[5m]))", "currency"),
                    ],
                    lowest=0,
                ),
            ],
        ),
        Section(
            "Trouble",
            [
                Panel(
                    "Repeated calls to Redis",
                    help_of("store_retries_total"),
                    "ops",
                    [Query(f"sum by (op) (rate(clickstage_store_retries_total{_ON}[5m]))", "{{op}}")],
                    lowest=0,
                ),
                Panel(
                    "Paused",
                    "Share of time spent paused because Redis or Kafka did not take writes.",
                    "percentunit",
                    [
                        Query(
                            f"sum by (instance) (rate(clickstage_store_paused_seconds_total{_ON}[5m]))", "{{instance}}"
                        )
                    ],
                    lowest=0,
                    highest=1,
                ),
                Panel(
                    "Rewinds",
                    "Times a partition was read again, last hour, by cause. `assigned` is normal.",
                    "short",
                    [Query(f"sum by (cause) (increase(clickstage_rewinds_total{_ON}[1h]))", "{{cause}}")],
                    lowest=0,
                ),
                Panel(
                    "Records set aside",
                    help_of("corrupt_records_total"),
                    "short",
                    [Query(f"sum by (kind) (increase(clickstage_corrupt_records_total{_ON}[1h]))", "{{kind}}")],
                    lowest=0,
                ),
                Panel(
                    "Lost to retention",
                    "Gaps in the log and offsets in them, ever: events that no worker saw.",
                    "short",
                    [
                        Query(f"sum(clickstage_log_gaps_total{_ON})", "gaps"),
                        Query(f"sum(clickstage_lost_offsets_total{_ON})", "offsets"),
                    ],
                    lowest=0,
                ),
                Panel(
                    "Refusals",
                    "Offset commits that Kafka refused and policy files that the worker refused, last hour.",
                    "short",
                    [
                        Query(f"sum(increase(clickstage_commit_failures_total{_ON}[1h]))", "commits"),
                        Query(
                            "sum(increase("
                            'clickstage_policy_reloads_total{outcome="refused", instance=~"$instance"}[1h]))',
                            "policies",
                        ),
                    ],
                    lowest=0,
                ),
                Panel(
                    "Log lines held back",
                    help_of("log_lines_suppressed_total"),
                    "ops",
                    [
                        Query(
                            f"sum by (instance) (rate(clickstage_log_lines_suppressed_total{_ON}[5m]))", "{{instance}}"
                        )
                    ],
                    lowest=0,
                ),
            ],
        ),
        Section(
            "Process",
            [
                Panel(
                    "Processor",
                    "Cores in use.",
                    "short",
                    [
                        Query(
                            'rate(process_cpu_seconds_total{job="clickstage", instance=~"$instance"}[5m])',
                            "{{instance}}",
                        )
                    ],
                    lowest=0,
                ),
                Panel(
                    "Memory",
                    "Resident memory.",
                    "bytes",
                    [Query('process_resident_memory_bytes{job="clickstage", instance=~"$instance"}', "{{instance}}")],
                    lowest=0,
                ),
                Panel(
                    "Open files",
                    "File descriptors in use.",
                    "short",
                    [Query('process_open_fds{job="clickstage", instance=~"$instance"}', "{{instance}}")],
                    lowest=0,
                ),
                Panel(
                    "Garbage collections",
                    "Python garbage collections per second.",
                    "ops",
                    [
                        Query(
                            "sum by (instance) "
                            '(rate(python_gc_collections_total{job="clickstage", instance=~"$instance"}[5m]))',
                            "{{instance}}",
                        )
                    ],
                    lowest=0,
                ),
            ],
        ),
    ],
)
