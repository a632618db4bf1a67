{# Reject the copies of events that the rebuild leaves out. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO {{ rejected_shadow }} (
    source_id, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value, headers,
    reason, field, rule, failures, detail, batch_id, rejected_at
)
SELECT
    source_id, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value, headers,
    'duplicate_event_id', 'event_id', '', [{{ duplicate }}], detail, batch_id,
    ingested_at
FROM {{ messages }}
ANY INNER JOIN (
    SELECT {{ rebuild.columns }}, any(detail) AS detail FROM {{ duplicates }} GROUP BY ALL
) AS copies USING ({{ rebuild.columns }})
WHERE {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM {{ duplicates }})
LIMIT 1 BY {{ rebuild.columns }}
;
DELETE FROM {{ shadow }}
WHERE {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM {{ duplicates }})
