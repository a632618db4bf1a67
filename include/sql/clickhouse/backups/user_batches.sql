-- How many rows each micro-batch is about to lose.
SELECT batch_id, sum(is_raw), sum(is_event), sum(is_rejected)
FROM (
    SELECT batch_id, 1 AS is_raw, 0 AS is_event, 0 AS is_rejected
    FROM raw_events WHERE {{ is_erased }}
    UNION ALL
    SELECT batch_id, 0, 0, 1 FROM rejected_events WHERE {{ is_erased }}
{% for target in targets %}
    UNION ALL
    SELECT batch_id, 0, 1, 0 FROM {{ target }} WHERE {{ is_erased }}
{% endfor %}
)
GROUP BY batch_id
