"""Tests; shared helpers are in `tests.helpers`."""
