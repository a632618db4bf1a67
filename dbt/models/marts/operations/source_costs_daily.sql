{#
  engine     ReplacingMergeTree(built_through, is_deleted)
  order key  day first
  partition  month
  ttl        2 years; the ledger itself is pruned after a week
  why        incremental by days of which batches were loaded since, each from all of its batches. Bytes
             and seconds are known of a micro-batch, not of where its messages went: they are shared
             out by messages.
#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    engine='ReplacingMergeTree(built_through, is_deleted)',
    order_by=['day', 'source_id', 'destination'],
    partition_by='toStartOfMonth(day)',
    ttl='day + interval 730 day',
    query_settings={'enable_materialized_cte': 1},
) }}

{% if is_incremental() %}
with
touched as materialized (
    select distinct toDate(claimed_at) as day
    from {{ ref('stg_ingest_batches') }}
    where loaded_at >= {{ built_since() }} - interval 1 minute
)
{% endif %}

select
    day,
    source_id,
    destination,
    messages,
    bytes,
    load_seconds,
    {{ built_through() }} as built_through,
    is_deleted
from (
    select
        toDate(claimed_at) as day,
        toLowCardinality(source_id) as source_id,
        toLowCardinality(share.1) as destination,
        toUInt64(sum(share.2)) as messages,
        sum(byte_count * share.2 / greatest(message_count, 1)) as bytes,
        sum(
            dateDiff('millisecond', claimed_at, loaded_at) / 1000
            * share.2 / greatest(message_count, 1)
        ) as load_seconds,
        toUInt8(0) as is_deleted
    from {{ ref('stg_ingest_batches') }}
    array join [('events', event_count), ('rejected_events', rejected_count)] as share
    {% if is_incremental() %}
    where toDate(claimed_at) in (select day from touched)
    {% endif %}
    group by day, source_id, destination
    {% if is_incremental() %}
    union all
    -- a source whose batches of a touched day are no more
    select
        day,
        source_id,
        destination,
        toUInt64(0) as messages,
        toFloat64(0) as bytes,
        toFloat64(0) as load_seconds,
        toUInt8(1) as is_deleted
    from {{ this }} {{ newest() }}
    where day in (select day from touched)
    {% endif %}
)
order by day, source_id, destination, is_deleted
limit 1 by day, source_id, destination
