"""The ingestion API: takes events as SDKs send them, and says yes only to what is durable."""
