select
    user_id,
    country,
    plan
from {{ source('millrace', 'user_profiles') }}
