{# Two series that became one are an error, as in Prometheus. #}
SELECT t, labels, any(v) AS v
FROM ({{ vector }})
GROUP BY t, labels
HAVING throwIf(count() > 1, 'vector cannot contain metrics with the same labelset') = 0
