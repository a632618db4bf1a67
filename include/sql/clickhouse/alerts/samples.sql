{#
  Published metrics and Millrace's own as Prometheus samples.
  A window of analytics.metrics is a sample at the window's end, however long the metric's windows
  are; a missing window is no sample.
  <name>_total is a counter made of a summable metric: the running total of the UTC day, which
  restarts at midnight as a counter does when its process restarts.
  `published`, `own` and `totals` are the metrics wanted of each; `is_any` wants all but counters.
#}
{% macro published_labels(name) %}
mapSort(mapConcat(
            map('__name__', {{ name }}),
            mapFilter((k, l) -> l != '', CAST(dimensions, 'Map(String, String)'))
        ))
{%- endmacro %}
{% macro wanted(metrics) %}{% if not is_any %}AND metric_name IN ({{ metrics }}){% endif %}{% endmacro %}
{# How long a metric's windows are, in seconds; and the longest of those wanted. #}
{% set definitions %}
(
    SELECT mapFromArrays(groupArray(metric_name), groupArray(grain_seconds))
    FROM analytics.metric_definitions
)
{%- endset %}
{% macro longest(metrics) %}
(
    SELECT greatest(max(grain_seconds), 60) FROM analytics.metric_definitions
    WHERE {% if is_any %}is_sampled{% else %}metric_name IN ({{ metrics }}){% endif %}

)
{%- endmacro %}
{% set end = '(toInt64(toUnixTimestamp(timestamp)) + greatest(grains[toString(metric_name)], 60)) * 1000' %}
{% set part = joiner('UNION ALL') %}
{% if published or totals or is_any %}
WITH {{ definitions }} AS grains
{% endif %}
SELECT labels, ts, value
FROM (
{% if published or is_any %}
    {{ part() }}
    SELECT
        {{ published_labels('toString(metric_name)') }} AS labels,
        {{ end }} AS ts,
        value
    FROM analytics.metrics
    WHERE timestamp >= toDateTime(intDiv({{ since }}, 1000) - {{ longest(published) }}, 'UTC')
        AND timestamp < toDateTime(intDiv({{ until }}, 1000), 'UTC')
        {{ wanted(published) }}

{% endif %}
{% if own or is_any %}
    {{ part() }}
    {# Not FINAL: that would merge whole granules, and only a few rows of them are asked for. #}
    SELECT
        s.labels AS labels,
        toInt64(toUnixTimestamp(s.timestamp)) * 1000 AS ts, argMax(s.value, s.recorded_at) AS value
    FROM pipeline_metrics AS s
    WHERE s.timestamp >= toDateTime(intDiv({{ since }}, 1000), 'UTC')
        AND s.timestamp <= toDateTime(intDiv({{ until }}, 1000), 'UTC')
        {{ wanted(own) }}

    GROUP BY s.metric_name, s.labels, s.timestamp
{% endif %}
{% if totals %}
    {{ part() }}
    SELECT labels, ts, sum(window_value) OVER (PARTITION BY labels, day ORDER BY ts) AS value
    FROM (
        SELECT
            {{ published_labels("concat(toString(metric_name), '_total')") }} AS labels,
            {{ end }} AS ts,
            toDate(timestamp) AS day,
            value AS window_value
        FROM analytics.metrics
        WHERE timestamp >= toStartOfDay(
                toDateTime(intDiv({{ since }}, 1000) - {{ longest(totals) }}, 'UTC')
            )
            AND timestamp < toDateTime(intDiv({{ until }}, 1000), 'UTC')
            {{ wanted(totals) }}

    )
{% endif %}
)
WHERE {{ condition }} AND ts >= {{ since }} AND ts <= {{ until }}
