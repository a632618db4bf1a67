{# Per partition, how many positions a table holds and the sum of their hashes: two tables hold the
   same positions equally often exactly if both agree (up to a chance of 2^-64). -#}
{% from 'clickhouse/verify/macros.sql.jinja' import scoped %}
SELECT partition, count() AS positions, sum(intHash64(offset)) AS fingerprint
FROM ({{ scoped(table, 't.partition AS partition, t.offset AS offset', ranges) }})
GROUP BY partition
ORDER BY partition
