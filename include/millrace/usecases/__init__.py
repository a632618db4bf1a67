"""What spans features: each use case once, for the command line, DAGs and tests alike."""
