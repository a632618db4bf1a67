{# Per partition, the sum of digests of what raw_events keeps at some positions. Lengths go before
   key and value, so that no other split of the same bytes has the same digest. -#}
{% from 'clickhouse/verify/macros.sql.jinja' import scoped %}
SELECT
    partition,
    sum(reinterpretAsUInt64(substring(SHA256(concat(
        toString(length(key)), ':', key, toString(length(value)), ':', value, headers
    )), 1, 8))) AS digests
FROM ({{ scoped('raw_events', 't.partition AS partition, t.key AS key, t.value AS value, t.headers AS headers', ranges) }})
GROUP BY partition
ORDER BY partition
