"""Doors that programs come through: what they ask is translated, and handed to what works."""
