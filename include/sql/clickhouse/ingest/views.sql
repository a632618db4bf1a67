-- The identity of the materialized views, as far as deduplication tokens carry it: a view's name
-- until it is altered, its UUID from then on, its name again after a restart. Views that have stood
-- since before the server started have one identity whatever the server's run; with others it ends
-- with the run, which is numbered by the register of event ids. The ten seconds allow for clocks.
SELECT concat(
    if(
        max(metadata_modification_time) >= now() - toIntervalSecond(uptime() + 10),
        concat(toString({register_instance:UInt64}), ':'),
        ''
    ),
    hex(sipHash64(arraySort(groupArray(
        (concat(database, '.', name), toString(uuid), metadata_modification_time)
    ))))
) AS views
FROM system.tables
WHERE engine = 'MaterializedView'
