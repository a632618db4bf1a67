-- How many days a table knows of which events are kept no more and which its successor lacks, and
-- the last of them.
SELECT uniqExact(toDate({{ time }})) AS days, max(toDate({{ time }})) AS until
FROM {{ source }}
WHERE
    toDate({{ time }}) < toDate(now('UTC')) - {kept:UInt32}
    AND toDate({{ time }}) NOT IN (SELECT DISTINCT toDate({{ time }}) FROM {{ target }})
