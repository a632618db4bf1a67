"""Answers that are kept for as long as what they were made from stands as it was."""
