-- Copy those days (old_days.sql) into the successor.
INSERT INTO {{ target }} ({{ columns }})
SELECT {{ columns }}
FROM {{ source }}
WHERE
    toDate({{ time }}) < toDate(now('UTC')) - {kept:UInt32}
    AND toDate({{ time }}) NOT IN (SELECT DISTINCT toDate({{ time }}) FROM {{ target }})
