select
    source_id,
    reason,
    field,
    rule,
    failures,
    detail,
    length(value) as message_bytes,
    kafka_timestamp as received_at,
    rejected_at
from {{ source('millrace', 'rejected_events') }}
