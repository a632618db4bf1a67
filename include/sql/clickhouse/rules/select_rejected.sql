{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
-- Rejected messages that a replay selects.
SELECT topic, topic_incarnation, partition, offset
FROM rejected_events
WHERE
    source_id = {source_id:String}
    AND rejected_at >= parseDateTime64BestEffort({since:String}, 3, 'UTC')
    AND rejected_at < parseDateTime64BestEffort({until:String}, 3, 'UTC')
    AND ({reason:String} = '' OR reason = {reason:String})
    AND (
        {rule:String} = ''
        OR arrayExists(label -> {{ failure.is_of_rule('label', '{rule:String}') }}, failures)
    )
ORDER BY topic, topic_incarnation, partition, offset
LIMIT {limit:UInt64}
