select
    {{ event_columns() }},
    warnings,
    received_at,
    ingested_at,
    source_id
from {{ source('millrace', 'events') }}
