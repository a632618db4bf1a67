"""Millrace turns event streams into trusted numbers."""
