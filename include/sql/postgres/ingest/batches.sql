{% import 'postgres/ingest/macros.sql.jinja' as ledger %}
-- Micro-batches by their numbers.
{{ ledger.batches("b.batch_id = ANY(%(batch_ids)s)") }}
