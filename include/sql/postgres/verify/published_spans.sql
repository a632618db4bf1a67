-- Times of a dataset whose windows passed their audit.
SELECT to_timestamp(first_second) AS span_start, to_timestamp(last_second + 1) AS span_end
FROM published_ranges
WHERE dataset = %(dataset)s
