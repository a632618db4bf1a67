-- The gate in force for each active source, with the rules that it was made of.
SELECT source_id, topic, data_sources.config, fingerprint, definition, gates.rules
FROM data_sources
JOIN current_gates USING (source_id)
JOIN gates USING (gate_id, source_id)
WHERE is_active AND definition IS NOT NULL
ORDER BY source_id
