{#
  The ledger is in PostgreSQL; the named collection `millrace_postgres` holds its address. A column
  that may be null there is not, once a batch is loaded.
#}
select
    assumeNotNull(batch_id) as batch_id,
    assumeNotNull(source_id) as source_id,
    assumeNotNull(claimed_at) as claimed_at,
    assumeNotNull(loaded_at) as loaded_at,
    assumeNotNull(attempts) as attempts,
    assumeNotNull(message_count) as message_count,
    assumeNotNull(event_count) as event_count,
    assumeNotNull(rejected_count) as rejected_count,
    assumeNotNull(byte_count) as byte_count
from postgresql(millrace_postgres, table = 'ingest_batches')
where state = 'loaded'
