SELECT
    countIf(empty(failures)) AS judged,
    countIf(arrayExists(warning -> endsWith(warning, {mark:String}), warnings)) AS hits,
    groupArrayIf({examples:UInt32})(
        (
            topic, partition, offset, event_type, user_id,
            arrayFirst(warning -> endsWith(warning, {mark:String}), warnings)
        ),
        arrayExists(warning -> endsWith(warning, {mark:String}), warnings)
    ) AS examples
FROM (
    {{ statement }}
)
