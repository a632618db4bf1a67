{# A file's events, sent beside the statement, as messages that come now. #}
SELECT
    '' AS topic,
    0::UInt8 AS topic_incarnation,
    0::UInt32 AS partition,
    number AS offset,
    now64(3, 'UTC') AS kafka_timestamp,
    '' AS key,
    value,
    '' AS headers
FROM file_rows
