"""Alert rules in PromQL, their state machine and their notifications."""
