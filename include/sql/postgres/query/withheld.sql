-- Stretches of time of some datasets that are withheld, in seconds since 1970, and why.
SELECT
    dataset, reason,
    extract(epoch FROM lower(span))::bigint AS first_second,
    extract(epoch FROM upper(span))::bigint AS end_second
FROM (
    SELECT dataset, reason, unnest(range_agg(tstzrange(window_start, window_end))) AS span
    FROM published_windows
    WHERE dataset = ANY(%(datasets)s) AND status = 'withheld'
    GROUP BY dataset, reason
) AS spans
ORDER BY dataset, first_second
