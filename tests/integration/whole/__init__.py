"""Tests that need a whole stack, Airflow included: they share one, and it ends with them."""
