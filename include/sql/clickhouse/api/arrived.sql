{# Messages that came to the ingestion API, as the gate takes them from Kafka. #}
SELECT
    '' AS topic,
    0::UInt8 AS topic_incarnation,
    0::UInt32 AS partition,
    number AS offset,
    received_at AS kafka_timestamp,
    '' AS key,
    message AS value,
    '' AS headers,
    received_at
FROM arrived
