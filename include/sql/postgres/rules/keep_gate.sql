{# Keep a gate and put it in force. #}
WITH kept AS (
    INSERT INTO gates (source_id, statement, fingerprint, rules, definition)
    VALUES (%(source_id)s, %(statement)s, %(fingerprint)s, %(rules)s, %(definition)s)
    -- A statement that was in force before comes back under its old number.
    ON CONFLICT (source_id, fingerprint) DO UPDATE SET definition = EXCLUDED.definition
    RETURNING gate_id, source_id
)
INSERT INTO current_gates (source_id, gate_id)
SELECT source_id, gate_id FROM kept
ON CONFLICT (source_id) DO UPDATE SET gate_id = EXCLUDED.gate_id, activated_at = now()
RETURNING gate_id
