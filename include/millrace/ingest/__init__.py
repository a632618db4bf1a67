"""Kafka offset ranges into ClickHouse, exactly once, and the rebuild of days."""
