-- Copy those days (old_days.sql) into the successor; there may be years of them, each a partition.
INSERT INTO {{ target }} ({{ columns }})
SELECT {{ columns }}
FROM {{ source }}
WHERE
    toDate({{ time }}) < toDate(now('UTC')) - {kept:UInt32}
    AND toDate({{ time }}) NOT IN (SELECT DISTINCT toDate({{ time }}) FROM {{ target }})
SETTINGS max_partitions_per_insert_block = 0
