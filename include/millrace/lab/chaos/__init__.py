"""Faults on purpose: a stack under load, killed and cut at random, and the proof that it held."""
