-- Stretches of time of some datasets that passed their audits, in seconds since 1970.
SELECT dataset, first_second, last_second + 1 AS end_second
FROM published_ranges
WHERE dataset = ANY(%(datasets)s)
ORDER BY dataset, first_second
