-- Columns of JSON, in which features keep what they saw.
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public' AND data_type IN ('json', 'jsonb') AND is_generated = 'NEVER'
    AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public')
ORDER BY table_name, column_name
