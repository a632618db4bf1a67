"""The gate, checked on the engine in this process."""
