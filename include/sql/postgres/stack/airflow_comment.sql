-- The comment on Airflow's database.
SELECT shobj_description(oid, 'pg_database') AS comment
FROM pg_database
WHERE datname = 'airflow'
