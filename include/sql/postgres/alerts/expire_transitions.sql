-- Forget changes of state of long ago.
DELETE FROM alert_transitions WHERE evaluated_at < %(before)s
