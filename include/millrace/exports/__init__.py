"""Parquet exports, the raw archive and on-demand exports."""
