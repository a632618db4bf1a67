{# What an instant selector sees at each step: every series' newest sample within the lookback. #}
SELECT t, labels, {% if wants_timestamp %}{{ grid.lanes.clock('max(ts)') }} / 1000{% else %}argMax(value, ts){% endif %} AS v
FROM ({% include 'clickhouse/alerts/promql/placed_samples.sql' %})
GROUP BY t, labels
