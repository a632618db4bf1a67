{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Messages of a partition that were events of the day and have no verdict in the shadow, and such
-- with two verdicts.
WITH verdicts AS (
    SELECT offset FROM {{ shadow }} WHERE {{ rebuild.one_log() }}
    UNION ALL
    SELECT offset FROM {{ rejected_shadow }} WHERE {{ rebuild.one_log() }}
)
SELECT
    (
        SELECT count() FROM {{ target }}
        WHERE toDate(event_time) = {day:Date} AND {{ rebuild.one_log() }}
            AND {{ rebuild.covered() }} AND offset NOT IN (SELECT offset FROM verdicts)
    ) AS lost,
    (SELECT count() - uniqExact(offset) FROM verdicts) AS doubled
