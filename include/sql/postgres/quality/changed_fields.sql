-- The fields that transformations may have changed in events that Kafka got since a moment, and the
-- types of event in which (empty: all): by the rules of the gates that any of them may have gone
-- through, the one in force included, which rebuilds use. Kafka's time may be a producer's, whose
-- clock may be ahead.
SELECT DISTINCT g.source_id, field, coalesce(rule ->> 'event_type', '') AS event_type
FROM gates AS g
CROSS JOIN LATERAL jsonb_array_elements(g.rules -> 'rules') AS rule
CROSS JOIN LATERAL unnest(ARRAY[rule -> 'config' ->> 'field', rule -> 'config' ->> 'to']) AS field
WHERE rule ->> 'rule_type' = 'transformation'
AND rule ->> 'mode' <> 'shadow'
AND rule -> 'config' ->> 'transform' <> 'user_agent' -- reads its field, and changes `device`
AND field = ANY(%(fields)s)
AND (
    g.gate_id IN (SELECT gate_id FROM current_gates)
    OR g.gate_id IN (
        SELECT gate_id FROM ingest_batches
        WHERE loaded_at >= %(since)s::timestamptz - INTERVAL '1 day' OR state = 'claimed'
    )
)
