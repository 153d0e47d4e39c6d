"""What a worker exports: metrics, drift, KPIs, health."""
