SELECT s.source_id, s.source_number, g.statement
FROM data_sources AS s
INNER JOIN current_gates AS c USING (source_id)
INNER JOIN gates AS g USING (gate_id)
WHERE s.is_active AND s.kind = 'kafka' AND s.target_table = %(target)s
ORDER BY s.source_id
