{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
-- What a rule, compiled as one that warns, would have hit among what the others let pass.
-- Merging the gate's stages into one expression would compute shared parts again and again.
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
SETTINGS query_plan_merge_expressions = 0
