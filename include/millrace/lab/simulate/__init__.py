"""Deterministic product traffic with every fault kind, and the manifest of what was sent."""
