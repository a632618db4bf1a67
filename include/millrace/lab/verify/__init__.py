"""The oracle: holds the warehouse against a manifest, sharing no code with the loader."""
