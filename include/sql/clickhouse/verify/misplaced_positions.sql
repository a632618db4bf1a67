{# Positions that are not in raw_events once, or not once in either of the other
   two. `expected` is 1 where there must be a message. -#}
{% from 'clickhouse/verify/macros.sql.jinja' import scoped, spans %}
SELECT
    partition,
    offset,
    sum(expected) AS must,
    sum(in_raw) AS raw,
    sum(in_events) AS events,
    sum(in_rejected) AS rejected
FROM (
    SELECT
        toUInt32(span.1) AS partition,
        arrayJoin(range(toUInt64(span.2), toUInt64(span.3))) AS offset,
        1 AS expected, 0 AS in_raw, 0 AS in_events, 0 AS in_rejected
    FROM (SELECT arrayJoin({{ spans(ranges) }}) AS span)
    UNION ALL
    {{ scoped('raw_events', 't.partition AS partition, t.offset AS offset, 0, 1, 0, 0', ranges) }}
    UNION ALL
    {{ scoped(target, 't.partition AS partition, t.offset AS offset, 0, 0, 1, 0', ranges) }}
    UNION ALL
    {{ scoped('rejected_events', 't.partition AS partition, t.offset AS offset, 0, 0, 0, 1', ranges) }}
)
GROUP BY partition, offset
HAVING raw != must OR events + rejected != must
ORDER BY partition, offset
