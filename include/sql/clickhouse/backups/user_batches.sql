SELECT batch_id, sum(is_raw), sum(is_event), sum(is_rejected)
FROM (
    SELECT batch_id, 1 AS is_raw, 0 AS is_event, 0 AS is_rejected
    FROM raw_events WHERE {{ in_message }}
    UNION ALL
    SELECT batch_id, 0, 1, 0 FROM events WHERE user_id = {user:UInt64}
    UNION ALL
    SELECT batch_id, 0, 0, 1 FROM rejected_events WHERE {{ in_message }}
)
GROUP BY batch_id
