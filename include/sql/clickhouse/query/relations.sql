{# Tables and views, what the views read, and what is said of them. #}
SELECT database, name, engine, as_select, comment
FROM system.tables
WHERE database IN ('{{ base }}', 'analytics') AND NOT is_temporary
