{# Every rule in the order in which they apply. #}
SELECT rule_id, name, rule_type, source_id, event_type, mode, priority, config, version, is_active
FROM processing_rules
ORDER BY priority, name
