{#
  Published metrics and Millrace's own as Prometheus samples.
  A window of analytics.metrics is a sample at the window's end; a missing window is no sample.
  <name>_total is a counter made of a summable metric: the running total of the UTC day, which
  restarts at midnight as a counter does when its process restarts.
#}
SELECT mapSort(mapConcat(labels, map('__name__', toString(name)))) AS labels, ts, value
FROM (
{% if source in ('published', 'both') %}
    SELECT
        metric_name AS name,
        mapSort(mapFilter((k, l) -> l != '', CAST(dimensions, 'Map(String, String)'))) AS labels,
        (toInt64(toUnixTimestamp(timestamp)) + 60) * 1000 AS ts,
        value
    FROM analytics.metrics
    WHERE timestamp >= toDateTime(intDiv({{ since }}, 1000) - 60, 'UTC')
        AND timestamp <= toDateTime(intDiv({{ until }}, 1000) - 60, 'UTC')
{% endif %}
{% if source == 'both' %}
    UNION ALL
{% endif %}
{% if source in ('own', 'both') %}
    SELECT
        metric_name AS name,
        mapSort(mapFilter((k, l) -> l != '', CAST(dimensions, 'Map(String, String)'))) AS labels,
        toInt64(toUnixTimestamp(timestamp)) * 1000 AS ts,
        value
    FROM pipeline_metrics FINAL
    WHERE timestamp >= toDateTime(intDiv({{ since }}, 1000), 'UTC')
        AND timestamp <= toDateTime(intDiv({{ until }}, 1000), 'UTC')
{% endif %}
{% if source == 'total' %}
    SELECT
        '{{ base }}_total' AS name, labels, ts,
        sum(window_value) OVER (PARTITION BY labels, day ORDER BY ts) AS value
    FROM (
        SELECT
            mapSort(mapFilter((k, l) -> l != '', CAST(dimensions, 'Map(String, String)'))) AS labels,
            (toInt64(toUnixTimestamp(timestamp)) + 60) * 1000 AS ts,
            toDate(timestamp) AS day,
            value AS window_value
        FROM analytics.metrics
        WHERE metric_name = '{{ base }}'
            AND timestamp >= toStartOfDay(toDateTime(intDiv({{ since }}, 1000) - 60, 'UTC'))
            AND timestamp <= toDateTime(intDiv({{ until }}, 1000) - 60, 'UTC')
    )
{% endif %}
)
WHERE {{ condition }} AND ts >= {{ since }} AND ts <= {{ until }}
