{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Rejected messages of the same partition that this rebuild has not judged.
INSERT INTO {{ rejected_shadow }}
SELECT * FROM rejected_events
WHERE toDate(rejected_at) = {partition_day:Date}
    AND {{ rebuild.place }} NOT IN (SELECT {{ rebuild.columns }} FROM {{ rejected_shadow }})
    AND {{ rebuild.place }} NOT IN (
        SELECT {{ rebuild.columns }} FROM {{ shadow }}
        WHERE {{ rebuild.place }} IN (
            SELECT {{ rebuild.columns }} FROM rejected_events
            WHERE toDate(rejected_at) = {partition_day:Date}
        )
    )
