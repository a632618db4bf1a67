-- Every source, as millrace.contract.sources knows it.
SELECT
    source_id, source_number, topic, target_table, config, dead_letter_topic, is_active
FROM data_sources
ORDER BY source_id
