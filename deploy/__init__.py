"""What runs Clickstage: image, compose file, Prometheus, Grafana, policies. The Python here only writes and draws."""
