{% import 'postgres/ingest/macros.sql.jinja' as ledger %}
-- Micro-batches that are claimed and not loaded.
{{ ledger.batches("b.source_id = %(source_id)s AND b.state = 'claimed'") }}
