-- Someone may have lifted the retention of raw_events, and a TTL that is not there can't be removed.
SELECT position(engine_full, ' TTL ') > 0
FROM system.tables
WHERE database = currentDatabase() AND name = '{{ table }}'
