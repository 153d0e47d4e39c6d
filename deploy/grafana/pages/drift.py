"""Does today's traffic still look like the training data?"""

from typing import Final

from deploy.grafana.panels import Dashboard, Panel, Query, Section, Variable
from worker.metrics.catalogue import help_of

DRIFT: Final = Dashboard(
    uid="clickstage-drift",
    title="Clickstage / Drift",
    description="Does today's traffic still look like the training data? Fleet figures from counters over the last "
    "hour, against bins and shares frozen in the bundle.",
    variables=[Variable("feature", "Feature", "clickstage_feature_baseline_share", "feature")],
    span="now-12h",
    sections=[
        Section(
            "Can it be trusted",
            [
                Panel(
                    "Sample",
                    "Sessions that began in the last hour, and how many a figure needs. Rows of one session resemble "
                    "each other, so sessions count. Below the minimum all drift figures are absent, not zero.",
                    "short",
                    [
                        Query("clickstage:drift_sessions:increase1h", "sessions"),
                        Query("max(clickstage_drift_minimum)", "minimum"),
                    ],
                    lowest=0,
                ),
                Panel(
                    "Another shop",
                    "1 while at least five features differ from training: the model was not made for this shop, or "
                    "the tracker was changed.",
                    "bool",
                    [Query("clickstage:other_shop:bool or vector(0)", "another shop")],
                    lowest=0,
                    highest=1,
                    decimals=0,
                ),
                Panel(
                    "Baselines in use",
                    "Distinct drift baselines that counted into the last hour. With more than one the bins "
                    "cannot be added, and figures are muted until the old one has left the window.",
                    "short",
                    [Query("clickstage:baselines:count1h", "baselines")],
                    lowest=0,
                    decimals=0,
                ),
            ],
        ),
        Section(
            "Features",
            [
                Panel(
                    "PSI by feature",
                    "Population stability index of the fleet against training. Below 0.1 nothing happened; "
                    "above 0.25 for ten minutes the alert fires.",
                    "psi",
                    [Query("clickstage:feature_psi:1h", "{{feature}}")],
                    limit=0.25,
                    lowest=0,
                    decimals=3,
                ),
                Panel(
                    "PSI now",
                    "The same, at this moment, largest first.",
                    "psi",
                    [Query("sort_desc(clickstage:feature_psi:1h)", "{{feature}}")],
                    "bargauge",
                    limit=0.25,
                    lowest=0,
                    decimals=3,
                ),
                Panel(
                    "Shift of means",
                    "How far each feature's mean moved from training, in training standard deviations. "
                    "Beyond 2 either way: more often a broken tracker than new behaviour.",
                    "sd",
                    [Query("clickstage:feature_mean_shift_sd:1h", "{{feature}}")],
                    decimals=2,
                ),
                Panel(
                    "Missing values",
                    "Share of rows without the feature. Only bounce_rate may be missing (unknown visitors).",
                    "percentunit",
                    [Query('clickstage:feature_bin_share:1h{bin="missing"}', "{{feature}}")],
                    lowest=0,
                ),
                Panel(
                    "Bins of $feature, live",
                    "Share of the last hour's rows per frozen bin. Compare with the picture beside it: "
                    "where they differ is what moved.",
                    "percentunit",
                    [Query('clickstage:feature_bin_share:1h{feature="$feature"}', "bin {{bin}}")],
                    "bargauge",
                    lowest=0,
                ),
                Panel(
                    "Bins of $feature, training",
                    "Share of the training rows per bin.",
                    "percentunit",
                    [Query('clickstage:feature_baseline_share:fleet{feature="$feature"}', "bin {{bin}}")],
                    "bargauge",
                    lowest=0,
                ),
                Panel(
                    "Edges of $feature",
                    "Upper edge of each bin, in the feature's own unit.",
                    "short",
                    [
                        Query(
                            'max by (bin) (clickstage_feature_bin_upper_edge{feature="$feature"} < Inf)', "bin {{bin}}"
                        )
                    ],
                    "bargauge",
                ),
                Panel(
                    "Mean of $feature",
                    "Live mean over the last hour, and the training mean.",
                    "short",
                    [
                        Query('clickstage:feature_mean:1h{feature="$feature"}', "live"),
                        Query('max(clickstage_feature_baseline_mean{feature="$feature"})', "training"),
                    ],
                ),
            ],
        ),
        Section(
            "Stages",
            [
                Panel(
                    "Predicted shares",
                    "Share of scored rows per stage, last hour; the model's answer before hysteresis.",
                    "percentunit",
                    [Query("clickstage:stage_share:1h", "{{stage}}")],
                    lowest=0,
                    highest=1,
                ),
                Panel(
                    "Rule-derived shares",
                    "The same rows, by the rules that the model was trained on.",
                    "percentunit",
                    [Query("clickstage:rule_stage_share:1h", "{{stage}}")],
                    lowest=0,
                    highest=1,
                ),
                Panel(
                    "Shift of shares",
                    "Change of each predicted share against training. Beyond 10 points either way the alert "
                    "fires after ten minutes. A campaign can do this.",
                    "pp",
                    [Query("clickstage:stage_share_shift_pp:1h", "{{stage}}")],
                    decimals=1,
                ),
                Panel(
                    "Model against rules",
                    "KL divergence of the predicted from the rule-derived shares. Above the red line the "
                    "model no longer says what it was taught.",
                    "nats",
                    [Query("clickstage:stage_kl_divergence:1h", "KL")],
                    limit=0.02,
                    lowest=0,
                    decimals=4,
                ),
                Panel(
                    "Rows that model and rules call differently",
                    "By the stage that the rules derive, last hour. Misses that cancel out in the mix are seen here, "
                    "and not in the divergence.",
                    "percentunit",
                    [
                        Query("clickstage:stage_disagreement:1h", "{{stage}}"),
                        Query("clickstage:disagreement:1h", "all"),
                    ],
                    lowest=0,
                ),
            ],
        ),
        Section(
            "Incidents",
            [
                Panel(
                    "Types against the hour before",
                    "How frequent each type is among the others in the last five minutes, over the hour before. A tag "
                    "that fires twice is at 2, one that broke is at 0.",
                    "short",
                    [
                        Query(
                            "clickstage:event_type:odds_ratio5m and clickstage:event_type:expected5m >= 25", "{{type}}"
                        )
                    ],
                    lowest=0,
                    limit=1.7,
                    decimals=2,
                ),
                Panel(
                    "Events per session against the hour before",
                    "Last ten minutes. Twice as many: the whole tracker fires twice, or robots came.",
                    "short",
                    [Query("clickstage:events_per_session:ratio10m", "ratio")],
                    lowest=0,
                    limit=1.6,
                    decimals=2,
                ),
                Panel(
                    "Bots and wrong clocks",
                    "Share of the last ten minutes' events that are of bots, and share whose times were corrected.",
                    "percentunit",
                    [
                        Query("clickstage:bot_share:10m", "bots"),
                        Query("clickstage:clock_corrected_share:10m", "clocks"),
                    ],
                    lowest=0,
                ),
            ],
        ),
        Section(
            "Heads",
            [
                Panel(
                    "Mean output of each head",
                    "What the heads of the bundle say on average over the last hour, to compare with training.",
                    "short",
                    [
                        Query(
                            "sum by (head, output) (rate(clickstage_head_output_sum_total[1h])) / on (head) group_left "
                            "sum by (head) (rate(clickstage_head_rows_total[1h]))",
                            "{{head}} {{output}}",
                        )
                    ],
                    lowest=0,
                    decimals=3,
                ),
                Panel(
                    "Outcomes, observed for one expected",
                    "Over the last day, at the end of sessions; 1 is a calibrated head.",
                    "short",
                    [
                        Query(
                            "sum by (head) (increase(clickstage_outcomes_observed_total[1d])) / "
                            "sum by (head) (increase(clickstage_outcomes_expected_total[1d]))",
                            "{{head}}",
                        )
                    ],
                    lowest=0,
                    decimals=2,
                ),
                Panel(
                    "Mean in training",
                    help_of("head_output_baseline"),
                    "short",
                    [Query("max by (head, output) (clickstage_head_output_baseline)", "{{head}} {{output}}")],
                    lowest=0,
                    decimals=3,
                ),
            ],
        ),
        Section(
            "Each worker's own window",
            [
                Panel(
                    "PSI per worker",
                    "The worker's sliding window of ten minutes. Noisier than the fleet's hour: for finding "
                    "one bad worker, not for alarms.",
                    "psi",
                    [Query('clickstage_feature_psi{feature="$feature"}', "{{instance}}")],
                    limit=0.25,
                    lowest=0,
                    decimals=3,
                ),
                Panel(
                    "Mean shift per worker",
                    help_of("feature_mean_shift_sd"),
                    "sd",
                    [Query('clickstage_feature_mean_shift_sd{feature="$feature"}', "{{instance}}")],
                    decimals=2,
                ),
                Panel(
                    "Share shift per worker",
                    help_of("stage_share_shift_pp") + " Largest of the stages.",
                    "pp",
                    [Query("max by (instance) (abs(clickstage_stage_share_shift_pp))", "{{instance}}")],
                    lowest=0,
                    decimals=1,
                ),
                Panel(
                    "Stage shares per worker",
                    help_of("stage_share"),
                    "percentunit",
                    [Query("clickstage_stage_share", "{{instance}} {{stage}}")],
                    lowest=0,
                    highest=1,
                ),
                Panel(
                    "KL per worker",
                    help_of("stage_kl_divergence"),
                    "nats",
                    [Query("clickstage_stage_kl_divergence", "{{instance}}")],
                    lowest=0,
                    decimals=4,
                ),
                Panel(
                    "Sample per worker",
                    "Rows and sessions in each worker's window.",
                    "short",
                    [
                        Query("clickstage_drift_window_events", "{{instance}} rows"),
                        Query("clickstage_drift_window_sessions", "{{instance}} sessions"),
                    ],
                    lowest=0,
                ),
            ],
        ),
    ],
)
