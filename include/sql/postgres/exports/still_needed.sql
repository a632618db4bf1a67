-- How many windows of an export have files that are still to expire, or are being made.
SELECT
    (SELECT count(*) FROM exported_windows WHERE name = %(name)s)
    + (SELECT count(*) FROM export_runs WHERE name = %(name)s AND state = 'running') AS windows
