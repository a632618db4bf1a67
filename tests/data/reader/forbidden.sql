-- Statements that the account `reader` must not get anything out of, one a line. {folder} is the
-- server's folder, {secrets} the file of secrets, {port} its HTTP port.
-- Other tables
SELECT * FROM millrace.raw_events
SELECT count() FROM millrace.raw_events
SELECT value FROM millrace.raw_events LIMIT 1
SELECT text FROM millrace.events
SELECT * FROM millrace.rejected_events
SELECT * FROM analytics.stg_events
SELECT * FROM analytics.int_events
SELECT * FROM analytics_shadow.sessions
SELECT * FROM analytics_dev_ann.events
SELECT user_id FROM analytics.sessions
SELECT * FROM analytics.sessions
SELECT max(user_id) FROM analytics.sessions
SELECT 1 FROM analytics.sessions WHERE user_id = 1
SELECT 1 FROM analytics.sessions PREWHERE user_id = 1
SELECT 1 FROM analytics.sessions ORDER BY user_id
SELECT count() FROM analytics.sessions GROUP BY user_id
SELECT 1 FROM analytics.sessions AS a JOIN analytics.sessions AS b USING (user_id)
SELECT COLUMNS('user') FROM analytics.sessions
SELECT * EXCEPT (country) FROM analytics.sessions
SELECT * APPLY toString FROM analytics.sessions
SELECT t.user_id FROM analytics.sessions AS t
SELECT tuple(*) FROM analytics.sessions
SELECT argMax(user_id, country) FROM analytics.sessions
SELECT user_id FROM (SELECT * FROM analytics.sessions)
WITH s AS (SELECT user_id FROM analytics.sessions) SELECT * FROM s
SELECT (SELECT any(text) FROM millrace.events)
SELECT 1 WHERE 1 IN (SELECT id FROM millrace.events)
SELECT 1 IN millrace.events
SELECT 1 WHERE EXISTS (SELECT 1 FROM millrace.events)
SELECT * FROM analytics.sessions UNION ALL SELECT * FROM millrace.events
SELECT * FROM merge('millrace', '.*')
SELECT * FROM merge('.*', '.*')
SELECT * FROM merge(REGEXP('.*'), 'events')
SELECT * FROM merge('analytics', 'stg_.*')
SELECT user_id FROM merge('analytics', '^sessions$')
SELECT * FROM cluster('default', millrace, events)
SELECT * FROM clusterAllReplicas('default', millrace, events)
SELECT * FROM remote('127.0.0.1', millrace, events)
SELECT * FROM remote('127.0.0.1:{native}', millrace.events, 'millrace', '')
SELECT * FROM remoteSecure('127.0.0.1', millrace, events)
SELECT * FROM loop(millrace, events)
SELECT * FROM loop(millrace.events)
SELECT * FROM view(SELECT * FROM millrace.events)
SELECT * FROM viewIfPermitted(SELECT text FROM millrace.events ELSE null('text String')) WHERE text != ''
SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * FROM millrace.events))
SELECT * FROM mergeTreeIndex('millrace', 'events')
SELECT * FROM mergeTreeParts('millrace', 'events')
SELECT * FROM mergeTreeProjection('millrace', 'events', 'p')
SELECT * FROM mergeTreeAnalyzeIndexes('millrace', 'events')
SELECT * FROM dictionary('millrace.user_profiles')
SELECT * FROM millrace.user_profiles
SELECT dictGet('millrace.user_profiles', 'country', toUInt64(1))
SELECT dictGetOrDefault('millrace.user_profiles', 'country', toUInt64(1), '')
SELECT dictHas('millrace.user_profiles', toUInt64(1))
SELECT dictGetKeys('millrace.user_profiles', 'country', 'DE')
SELECT joinGet('millrace.register', 'text', toUInt64(1))
SELECT hasColumnInTable('millrace', 'events', 'text')
SELECT initializeAggregation('any', (SELECT text FROM millrace.events LIMIT 1))
-- Explanations
EXPLAIN ESTIMATE SELECT * FROM millrace.events
EXPLAIN ESTIMATE SELECT * FROM analytics.stg_events
EXPLAIN PLAN SELECT * FROM millrace.events
EXPLAIN indexes = 1 SELECT * FROM millrace.events WHERE id = 1
EXPLAIN PIPELINE SELECT * FROM millrace.events
EXPLAIN QUERY TREE SELECT * FROM millrace.events
EXPLAIN SYNTAX run_query_tree_passes = 1 SELECT * FROM millrace.events
EXPLAIN TABLE OVERRIDE mysql('127.0.0.1', 'd', 't', 'u', 'p') PARTITION BY tuple()
SELECT * FROM (EXPLAIN ESTIMATE SELECT * FROM millrace.events)
SELECT * FROM (EXPLAIN actions = 1 SELECT text FROM millrace.events)
DESCRIBE TABLE millrace.events
DESCRIBE (SELECT * FROM millrace.events)
SHOW CREATE TABLE millrace.events
SHOW CREATE DATABASE millrace
SHOW CREATE VIEW analytics.stg_events
SHOW CREATE DICTIONARY millrace.user_profiles
SHOW COLUMNS FROM millrace.events
SHOW INDEX FROM millrace.events
EXISTS TABLE millrace.events
CHECK TABLE millrace.events
-- Others' statements and accounts
SELECT * FROM system.processes
SHOW PROCESSLIST
SELECT * FROM system.query_log
SELECT query FROM system.query_log
SELECT * FROM system.query_thread_log
SELECT * FROM system.query_views_log
SELECT * FROM system.text_log
SELECT * FROM system.trace_log
SELECT * FROM system.part_log
SELECT * FROM system.session_log
SELECT * FROM system.asynchronous_insert_log
SELECT * FROM system.asynchronous_inserts
SELECT * FROM system.opentelemetry_span_log
SELECT * FROM system.error_log
SELECT * FROM system.errors
SELECT * FROM system.query_cache
SELECT * FROM system.query_condition_cache
SELECT * FROM system.stack_trace
SELECT * FROM system.crash_log
SELECT * FROM system.warnings
SELECT * FROM system.user_processes
SELECT * FROM system.mutations
SELECT * FROM system.merges
SELECT * FROM system.moves
SELECT * FROM system.parts
SELECT * FROM system.parts_columns
SELECT * FROM system.detached_parts
SELECT * FROM system.projection_parts
SELECT * FROM system.dropped_tables
SELECT * FROM system.dropped_tables_parts
SELECT * FROM system.data_skipping_indices
SELECT * FROM system.view_refreshes
SELECT * FROM system.dictionaries
SELECT * FROM system.backups
SELECT * FROM system.backup_log
SELECT * FROM system.disks
SELECT * FROM system.storage_policies
SELECT * FROM system.remote_data_paths
SELECT * FROM system.filesystem_cache
SELECT * FROM system.named_collections
SELECT * FROM system.server_settings
SELECT * FROM system.macros
SELECT * FROM system.clusters
SELECT * FROM system.replicas
SELECT * FROM system.zookeeper WHERE path = '/'
SELECT * FROM system.users
SELECT * FROM system.roles
SELECT * FROM system.grants
SELECT * FROM system.settings_profiles
SELECT * FROM system.settings_profile_elements
SELECT * FROM system.row_policies
SELECT * FROM system.quotas
SELECT * FROM system.quotas_usage
SELECT * FROM system.user_directories
SELECT * FROM system.certificates
SELECT * FROM system.metrics
SELECT * FROM system.events
SELECT * FROM system.asynchronous_metrics
SHOW USERS
SHOW GRANTS FOR millrace
SHOW CREATE USER millrace
SHOW ACCESS
SHOW SETTINGS PROFILES
SHOW NAMED COLLECTIONS
SELECT getServerSetting('max_server_memory_usage')
SELECT getMacro('x')
SELECT demangle(addressToSymbol(1))
SELECT addressToLine(1)
-- Files
SELECT file('/etc/passwd')
SELECT file('/etc/shadow')
SELECT file('{secrets}')
SELECT file('/proc/self/environ')
SELECT file('/proc/self/mem')
SELECT file('/proc/1/environ')
SELECT file('{folder}/config.xml')
SELECT file('{folder}/users.xml')
SELECT file('/proc/self/cwd/users.xml')
SELECT file('users.xml')
SELECT file('../server.env')
SELECT file('/etc/gshadow')
SELECT * FROM file('{folder}/lock', 'LineAsString')
SELECT * FROM file('/etc/passwd', 'LineAsString')
SELECT * FROM file('*', 'RawBLOB')
SELECT * FROM filesystem('/etc')
SELECT * FROM fileCluster('default', '/etc/passwd', 'LineAsString')
SELECT * FROM default.`/etc/passwd`
SELECT * FROM `/etc/passwd`
SELECT * FROM '/etc/passwd'
SELECT * FROM sqlite('/etc/passwd', 't')
SELECT * FROM executable('cat', 'LineAsString', 'x String', (SELECT '1'))
SELECT * FROM executable('/bin/sh', 'TSV', 'x String')
SELECT * FROM input('x String')
INSERT INTO FUNCTION file('{folder}/evil', 'TSV', 'x String') VALUES ('x')
INSERT INTO FUNCTION file('/tmp/evil', 'TSV', 'x String') SELECT 'x'
SELECT 1 INTO OUTFILE '/tmp/evil'
SELECT 1 INTO OUTFILE '{folder}/evil' TRUNCATE
SELECT 1 INTO/**/OUTFILE '/tmp/evil' FORMAT TSV
INSERT INTO analytics.sessions FROM INFILE '/etc/passwd' FORMAT LineAsString
-- Networks and other stores
SELECT * FROM url('http://127.0.0.1:{port}/ping', 'LineAsString')
SELECT * FROM url('file:///etc/passwd', 'LineAsString')
SELECT * FROM urlCluster('default', 'http://127.0.0.1:{port}/ping', 'LineAsString')
INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', 'TSV', 'x String') VALUES ('x')
SELECT * FROM s3('http://127.0.0.1:{port}/bucket/x.csv')
SELECT * FROM s3(millrace_objects, filename = 'x.parquet')
SELECT * FROM s3Cluster('default', 'http://127.0.0.1:{port}/bucket/x.csv')
INSERT INTO FUNCTION s3(millrace_objects, filename = 'evil.csv') SELECT 1
SELECT * FROM gcs('http://127.0.0.1:{port}/bucket/x.csv')
SELECT * FROM oss('http://127.0.0.1:{port}/bucket/x.csv')
SELECT * FROM azureBlobStorage('x', 'y', 'z')
SELECT * FROM hdfs('hdfs://127.0.0.1/x', 'TSV')
SELECT * FROM iceberg('http://127.0.0.1:{port}/bucket/t')
SELECT * FROM deltaLake('http://127.0.0.1:{port}/bucket/t')
SELECT * FROM hudi('http://127.0.0.1:{port}/bucket/t')
SELECT * FROM postgresql(millrace_postgres, table = 'users')
SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')
SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')
SELECT * FROM mongodb('127.0.0.1:1', 'd', 't', 'u', 'p', 'x String')
SELECT * FROM redis('127.0.0.1:1', 'k', 'k String, v String')
SELECT * FROM jdbc('x', 'y', 'z')
SELECT * FROM odbc('x', 'y', 'z')
SELECT * FROM ytsaurus('x', 'y', 'z', 'x String')
SELECT * FROM arrowFlight('127.0.0.1:1', 'x')
SELECT * FROM prometheusQuery('millrace', 'metrics', 'up', now())
-- Writing
INSERT INTO analytics.sessions VALUES (1, 'DE')
INSERT INTO analytics.sessions SELECT 1, 'DE'
INSERT INTO millrace.events VALUES (1, '')
INSERT INTO millrace.events SELECT 1, ''
INSERT INTO system.one VALUES (1)
CREATE TABLE analytics.evil (x UInt8) ENGINE = Memory
CREATE TABLE evil ENGINE = File(TSV, '/etc/passwd')
CREATE TABLE evil (x String) ENGINE = URL('http://127.0.0.1:{port}/', TSV)
CREATE TABLE evil (x String) ENGINE = Executable('x', TSV)
CREATE TABLE evil AS millrace.events
CREATE TABLE evil CLONE AS millrace.events
CREATE TEMPORARY TABLE evil (x UInt8)
CREATE TEMPORARY TABLE evil ENGINE = File(TSV)
CREATE TEMPORARY TABLE evil AS SELECT * FROM millrace.events
CREATE VIEW analytics.evil AS SELECT * FROM millrace.events
CREATE VIEW analytics.evil DEFINER = millrace SQL SECURITY DEFINER AS SELECT * FROM millrace.events
CREATE OR REPLACE VIEW analytics.sessions AS SELECT 1
CREATE MATERIALIZED VIEW analytics.evil ENGINE = Memory AS SELECT * FROM millrace.events
CREATE LIVE VIEW analytics.evil AS SELECT 1
CREATE WINDOW VIEW analytics.evil AS SELECT 1
CREATE DICTIONARY analytics.evil (id UInt64, text String) PRIMARY KEY id SOURCE(CLICKHOUSE(DB 'millrace' TABLE 'events' USER 'millrace')) LAYOUT(FLAT()) LIFETIME(0)
CREATE DICTIONARY analytics.evil (id UInt64) PRIMARY KEY id SOURCE(FILE(PATH '/etc/passwd' FORMAT 'LineAsString')) LAYOUT(FLAT()) LIFETIME(0)
CREATE DICTIONARY analytics.evil (id UInt64) PRIMARY KEY id SOURCE(EXECUTABLE(COMMAND 'id' FORMAT 'TSV')) LAYOUT(FLAT()) LIFETIME(0)
CREATE DATABASE evil
CREATE DATABASE evil ENGINE = Filesystem('/')
CREATE DATABASE evil ENGINE = PostgreSQL(millrace_postgres)
CREATE DATABASE evil ENGINE = SQLite('/etc/passwd')
CREATE FUNCTION evil AS (x) -> x
CREATE NAMED COLLECTION evil AS a = 1
ALTER NAMED COLLECTION millrace_objects SET url = 'http://127.0.0.1:{port}/'
DROP NAMED COLLECTION millrace_objects
CREATE USER evil
CREATE ROLE evil
ALTER USER reader SETTINGS readonly = 0
GRANT ALL ON *.* TO reader
GRANT SELECT ON millrace.* TO reader
CREATE ROW POLICY evil ON millrace.events USING 1 TO reader
CREATE QUOTA evil TO reader
CREATE SETTINGS PROFILE evil SETTINGS readonly = 0
CREATE WORKLOAD evil
CREATE RESOURCE evil (READ ANY DISK)
SET ROLE ALL
EXECUTE AS millrace SELECT 1
ALTER TABLE analytics.sessions DELETE WHERE 1
ALTER TABLE analytics.sessions UPDATE country = '' WHERE 1
ALTER TABLE analytics.sessions ADD COLUMN evil String DEFAULT file('/etc/passwd')
ALTER TABLE analytics.sessions FREEZE
ALTER TABLE analytics.sessions ATTACH PARTITION tuple() FROM millrace.events
DELETE FROM analytics.sessions WHERE 1
UPDATE analytics.sessions SET country = '' WHERE 1
TRUNCATE TABLE analytics.sessions
DROP TABLE analytics.sessions
DROP DATABASE analytics
DETACH TABLE analytics.sessions
RENAME TABLE analytics.sessions TO analytics.evil
EXCHANGE TABLES analytics.sessions AND millrace.events
OPTIMIZE TABLE analytics.sessions FINAL
UNDROP TABLE analytics.sessions
BACKUP TABLE analytics.sessions TO Disk('default', 'evil')
BACKUP TABLE millrace.events TO File('/tmp/evil')
RESTORE TABLE analytics.sessions FROM File('/tmp/evil')
SYSTEM SHUTDOWN
SYSTEM KILL
SYSTEM STOP LISTEN HTTP
SYSTEM START LISTEN TCP
SYSTEM FLUSH LOGS
SYSTEM DROP MARK CACHE
SYSTEM DROP QUERY CACHE
SYSTEM STOP MERGES
SYSTEM RELOAD CONFIG
SYSTEM RELOAD DICTIONARIES
SYSTEM ENABLE FAILPOINT dummy_failpoint
SYSTEM UNFREEZE WITH NAME 'evil'
KILL QUERY WHERE 1
KILL MUTATION WHERE 1
-- Settings
SET readonly = 0
SET readonly = 1, max_memory_usage = 0
SET max_memory_usage = 99000000000
SET max_memory_usage = 0
SET max_execution_time = 0
SET max_execution_time = 3600
SET max_rows_to_read = 0
SET max_result_rows = 0
SET max_result_bytes = 0
SET max_threads = 64
SET max_concurrent_queries_for_user = 0
SET max_memory_usage_for_user = 0
SET max_sessions_for_user = 0
SET max_temporary_data_on_disk_size_for_user = 0
SET timeout_overflow_mode = 'break'
SET use_query_condition_cache = 1
SET os_threads_nice_value_query = -10
SET profile = 'default'
SET profile = 'millrace'
SELECT 1 SETTINGS readonly = 0
SELECT 1 SETTINGS max_execution_time = 0
SELECT 1 SETTINGS max_memory_usage = 99000000000
SELECT 1 SETTINGS max_threads = 64
SELECT sleepEachRow(1) FROM numbers(100) SETTINGS function_sleep_max_microseconds_per_block = 0, max_execution_time = 600
