-- The objects of pages that were made long ago, to be deleted.
SELECT object_key FROM report_runs WHERE begun_at < %(before)s AND object_key IS NOT NULL
