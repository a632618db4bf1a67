"""Backups, restore drills, restores, and the expiry and erasure of data."""
