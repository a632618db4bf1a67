-- The gate in force for a source, unless an earlier version of Millrace compiled it.
SELECT gate_id, source_id, statement, fingerprint, definition
FROM current_gates
JOIN gates USING (gate_id, source_id)
WHERE source_id = %(source_id)s AND definition IS NOT NULL
