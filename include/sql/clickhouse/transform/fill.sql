-- Fill a table that a deployment builds from the history that is there.
INSERT INTO {{ target }}
{{ select }}
