-- The gates in force of the sources whose events go to a table.
SELECT s.source_id, s.source_number, g.definition
FROM data_sources AS s
INNER JOIN current_gates AS c USING (source_id)
INNER JOIN gates AS g USING (gate_id)
WHERE s.is_active AND s.kind = 'kafka' AND s.target_table = %(target)s
    AND g.definition IS NOT NULL
ORDER BY s.source_id
