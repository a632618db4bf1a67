-- What became of the messages of an import, told by the header that they carry: number of the
-- import, row, line. A row that was sent twice counts once.
{% set told = "splitByChar(' ', base64Decode(arrayFirst(pair -> pair[1] = {header:String}, JSONExtract(headers, 'Array(Array(String))'))[2]))" %}
WITH
    sent AS (
        SELECT topic_incarnation, partition, offset, {{ told }} AS told
        FROM raw_events
        WHERE
            source_id = {source_id:String}
            AND topic = {topic:String}
            AND ingested_at >= {since:DateTime64(3, 'UTC')}
            AND position(headers, {header:String}) > 0
            AND told[1] = {import:String}
    )
SELECT '' AS reason, count() AS messages, []::Array(UInt64) AS lines
FROM {{ target }}
WHERE
    source_id = {source_id:String}
    AND topic = {topic:String}
    AND ingested_at >= {since:DateTime64(3, 'UTC')}
    AND (topic_incarnation, partition, offset) IN (
        SELECT topic_incarnation, partition, offset FROM sent
    )
UNION ALL
SELECT 'arrived', uniqExact(told[2]), []
FROM sent
UNION ALL
SELECT reason::String, uniqExact(told[2]), groupArraySorted(20)(toUInt64(told[3]))
FROM (
    SELECT reason, {{ told }} AS told
    FROM rejected_events
    WHERE
        source_id = {source_id:String}
        AND topic = {topic:String}
        AND rejected_at >= {since:DateTime64(3, 'UTC')}
        AND position(headers, {header:String}) > 0
        AND told[1] = {import:String}
)
GROUP BY reason
