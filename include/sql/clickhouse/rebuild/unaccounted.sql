{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Messages of a partition that were events of the day and have no verdict in the shadow, and such
-- with two verdicts.
WITH verdicts AS (
    SELECT (topic, topic_incarnation, offset) AS place FROM {{ shadow }}
    WHERE source_id = {source_id:String} AND partition = {partition:UInt32}
    UNION ALL
    SELECT (topic, topic_incarnation, offset) AS place FROM {{ rejected_shadow }}
    WHERE source_id = {source_id:String} AND partition = {partition:UInt32}
)
SELECT
    (
        SELECT count() FROM {{ target }}
        WHERE toDate(event_time) = {day:Date} AND source_id = {source_id:String}
            AND partition = {partition:UInt32} AND {{ rebuild.covered() }}
            AND (topic, topic_incarnation, offset) NOT IN (SELECT place FROM verdicts)
    ) AS lost,
    (SELECT count() - uniqExact(place) FROM verdicts) AS doubled
