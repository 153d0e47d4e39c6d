"""Dashboards as code: `dashboards` says what they show, `panels` how Grafana wants it written, `render` draws them."""
