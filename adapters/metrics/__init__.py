"""Metrics for Prometheus: events that are counted, and the state at the time of a scrape. docs/metrics.md lists all."""
