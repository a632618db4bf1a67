-- Tables that hold rows of their own, and whether they can be cloned. What a Join or a Set table
-- holds came from elsewhere and is filled again, views hold nothing.
SELECT database, name, engine LIKE '%MergeTree' AS is_cloned
FROM system.tables
WHERE
    database IN {databases:Array(String)}
    AND (engine LIKE '%MergeTree' OR engine IN ('Log', 'TinyLog', 'StripeLog', 'Memory'))
    AND NOT is_temporary
{% if existed_at %}
    AND total_rows > 0 AND metadata_modification_time <= toDateTime({until:String}, 'UTC')
{% endif %}
ORDER BY database, name
