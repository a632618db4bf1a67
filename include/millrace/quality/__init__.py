"""Great Expectations checkpoints, quality metrics and the publication of windows."""
