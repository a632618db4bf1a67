{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
-- How often each rule of the gate hit, by window.
INSERT INTO rule_hits
SELECT
    window_start,
    source_id,
    {{ failure.rule('label') }} AS rule,
    mode,
    {{ failure.reason('label') }} AS reason,
    count() AS hits,
    groupArray(3)(example) AS examples,
    {now:DateTime64(3, 'UTC')} AS counted_at
FROM (
    SELECT
        toDateTime(intDiv(toUnixTimestamp(rejected_at), {seconds:UInt32}) * {seconds:UInt32}, 'UTC')
            AS window_start,
        source_id, failures AS found, 'enforce' AS mode, left(value, 500) AS example
    FROM rejected_events
    WHERE
        rejected_at >= {start:DateTime64(3, 'UTC')} AND rejected_at < {end:DateTime64(3, 'UTC')}
    UNION ALL
    SELECT
        toDateTime(intDiv(toUnixTimestamp(ingested_at), {seconds:UInt32}) * {seconds:UInt32}, 'UTC'),
        source_id, warnings, 'warn', toString(event_id)
    FROM events
    WHERE
        ingested_at >= {start:DateTime64(3, 'UTC')} AND ingested_at < {end:DateTime64(3, 'UTC')}
        AND notEmpty(warnings)
)
ARRAY JOIN found AS label
GROUP BY window_start, source_id, rule, mode, reason
