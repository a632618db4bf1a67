{# What a range selector sees at each step: every series' samples in the window, oldest first. #}
SELECT t, labels, pairs.1 AS ts, pairs.2 AS vs
FROM (
    SELECT t, labels, arraySort(groupArray((ts, value))) AS pairs
    FROM ({% include 'clickhouse/alerts/promql/placed_samples.sql' %})
    GROUP BY t, labels
)
