{# Add a rule, or change it. #}
INSERT INTO processing_rules (name, rule_type, source_id, event_type, mode, priority, config)
VALUES (
    %(name)s, %(rule_type)s, %(source_id)s, %(event_type)s, %(mode)s, %(priority)s, %(config)s
)
ON CONFLICT (name) DO UPDATE SET
    rule_type = EXCLUDED.rule_type, source_id = EXCLUDED.source_id,
    event_type = EXCLUDED.event_type, mode = EXCLUDED.mode, priority = EXCLUDED.priority,
    config = EXCLUDED.config, version = processing_rules.version + 1, updated_at = now()
WHERE (
    processing_rules.rule_type, processing_rules.source_id, processing_rules.event_type,
    processing_rules.mode, processing_rules.priority, processing_rules.config
) IS DISTINCT FROM (
    EXCLUDED.rule_type, EXCLUDED.source_id, EXCLUDED.event_type, EXCLUDED.mode,
    EXCLUDED.priority, EXCLUDED.config
)
