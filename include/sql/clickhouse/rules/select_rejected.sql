{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
-- Rejected messages that a replay selects, from behind a position on.
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
    AND (topic, topic_incarnation, partition, offset)
    > ({topic:String}, {incarnation:UInt8}, {partition:UInt32}, {offset:UInt64})
ORDER BY topic, topic_incarnation, partition, offset
LIMIT {page:UInt64}
