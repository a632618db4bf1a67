-- What is usual for a rule, from now on.
INSERT INTO rule_baselines (rule_name, baselines, computed_at)
VALUES (%(rule_name)s, %(baselines)s, %(computed_at)s)
ON CONFLICT (rule_name) DO UPDATE SET
    baselines = excluded.baselines,
    computed_at = excluded.computed_at
