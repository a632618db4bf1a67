-- Every relation that a metric can be in: its bare name, its whole one, and for how many days its
-- rows are kept. A model comes before a base table of its name.
SELECT name, concat(database, '.', name), toUInt32OrZero(extract(engine_full, 'TTL .*toIntervalDay\\((\\d+)\\)'))
FROM system.tables
WHERE database IN (currentDatabase(), 'analytics')
ORDER BY database = 'analytics'
