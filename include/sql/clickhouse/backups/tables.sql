-- Tables that hold rows of their own. A Join table is filled from `events`, views hold none.
SELECT database, name
FROM system.tables
WHERE
    database IN {databases:Array(String)} AND engine LIKE '%MergeTree'
{% if existed_at %}
    AND total_rows > 0 AND metadata_modification_time <= toDateTime({until:String}, 'UTC')
{% endif %}
ORDER BY database, name
