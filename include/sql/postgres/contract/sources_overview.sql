-- Every source, with what a person wants to know of it.
SELECT
    source_id, topic, owner, description, is_active, target_table, dead_letter_topic,
    config, created_at
FROM data_sources
ORDER BY source_id
