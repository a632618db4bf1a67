"""Jobs: runs of the DAGs that a person may start, as those who start and watch them see them.

A job is a run of its kind's DAG, or, where the kind works by day, a run for each of its days. Its
id is that of the run behind the kind's name. A run that the API starts is named after whoever asked
and the Idempotency-Key, so that asking again finds the same run.
"""
