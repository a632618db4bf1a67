-- What the server has taken of the memory that it may have; 0 where it has no bound.
SELECT
    (SELECT value FROM system.metrics WHERE metric = 'MemoryTracking') AS taken,
    (SELECT toInt64(value) FROM system.server_settings WHERE name = 'max_server_memory_usage') AS most
