"""Backups of warehouse and metadata, their restore, and the drill that proves both."""
