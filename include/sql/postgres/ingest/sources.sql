SELECT source_id, source_number, topic, target_table, config FROM data_sources
WHERE is_active AND kind = 'kafka'
ORDER BY source_id
