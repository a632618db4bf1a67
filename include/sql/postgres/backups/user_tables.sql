-- Tables that say whose a row is.
SELECT table_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name = %(name)s
    AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public')
ORDER BY table_name
