select
    event_id,
    event_time,
    event_type,
    user_id,
    page,
    country,
    device,
    properties,
    device_info,
    geo_location,
    warnings,
    received_at,
    ingested_at,
    source_id
from {{ source('millrace', 'events') }}
