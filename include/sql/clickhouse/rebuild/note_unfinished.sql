{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Within a swap a message of another day may be in neither table; should the rebuild die there, the
-- next one learns from this note that it is to be judged.
CREATE TABLE IF NOT EXISTS {{ unfinished }}
(
    {{ rebuild.typed_columns }},
    is_event Bool
)
ENGINE = MergeTree
ORDER BY (source_id, topic, topic_incarnation, partition, offset)
;
INSERT INTO {{ unfinished }}
SELECT * FROM elsewhere
WHERE ({{ rebuild.columns }}, is_event) NOT IN (
    SELECT {{ rebuild.columns }}, is_event FROM {{ unfinished }}
)
