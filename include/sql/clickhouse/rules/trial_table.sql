{# Where a trial keeps the messages that it judges. #}
CREATE TEMPORARY TABLE trial
(
    topic String,
    topic_incarnation UInt8,
    partition UInt32,
    offset UInt64,
    kafka_timestamp DateTime64(3, 'UTC'),
    key String,
    value String,
    headers String
)
