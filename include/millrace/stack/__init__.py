"""The embedded servers of one machine and their supervision."""
