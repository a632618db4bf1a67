{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
-- What a rule, compiled as one that warns, would have hit among what the others let pass.
SELECT
    countIf(empty(failures)) AS judged,
    countIf(arrayExists(warning -> {{ failure.is_of_rule('warning', '{rule:String}') }}, warnings)) AS hits,
    groupArrayIf({examples:UInt32})(
        (
            topic, partition, offset, event_type, user_id,
            arrayFirst(warning -> {{ failure.is_of_rule('warning', '{rule:String}') }}, warnings)
        ),
        arrayExists(warning -> {{ failure.is_of_rule('warning', '{rule:String}') }}, warnings)
    ) AS examples
FROM (
    {{ statement }}
)
