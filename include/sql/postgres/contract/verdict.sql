-- What the audits say of a stretch of time: why it is withheld, and whether passed windows cover it.
SELECT
    string_agg(reason, '; ') FILTER (WHERE status = 'withheld') AS withheld,
    coalesce(
        range_agg(tstzrange(window_start, window_end)) FILTER (WHERE status = 'published')
        @> tstzrange(%(start)s, %(end)s),
        false
    ) AS is_covered
FROM published_windows
WHERE dataset = %(dataset)s AND window_start < %(end)s AND window_end > %(start)s
