"""Validation and transformation rules: kept as data, compiled to SQL."""
