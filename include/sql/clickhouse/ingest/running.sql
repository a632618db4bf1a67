SELECT query_id FROM system.processes
WHERE Settings['insert_deduplication_token'] = {token:String}
