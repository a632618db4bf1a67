"""Made by ``proto/generate.py`` from ``proto/millrace/ingestion/v1/ingestion.proto``."""
