select
    source_id,
    topic,
    `partition`,
    offset,
    length(key) + length(value) + length(headers) as message_bytes,
    kafka_timestamp as received_at,
    ingested_at
from {{ source('millrace', 'raw_events') }}
