"""A user's own files, sent through Kafka like everything else."""
