"""Samples and expressions for the comparison with Prometheus."""
