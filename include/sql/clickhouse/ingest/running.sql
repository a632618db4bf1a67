{# Statements under way with a deduplication token. #}
SELECT query_id FROM system.processes
WHERE Settings['insert_deduplication_token'] = {token:String}
