{#
  What an instant selector sees at each step: every series' newest sample within the lookback.
  For many steps a sample is seen until the next one of its series, so each series has a row a step
  at most, however many samples are within the lookback; the statement takes longer to plan.
#}
{% if is_pinned or not grid.is_of_many_steps %}
SELECT t, labels, {% if wants_timestamp %}{{ grid.lanes.clock('max(ts)') }} / 1000{% else %}argMax(value, ts){% endif %} AS v
FROM ({% include 'clickhouse/alerts/promql/placed_samples.sql' %})
GROUP BY t, labels
{% else %}
SELECT
    {{ grid.lanes.start('ts') }} + {{ grid.start }} + {{ grid.step }} * arrayJoin(range(
        intDiv(greatest(seen_from, {{ grid.start }}) - {{ grid.start }} + {{ grid.step }} - 1, {{ grid.step }}),
        intDiv(seen_until - {{ grid.start }}, {{ grid.step }}) + 1
    )) AS t,
    labels,
    {{ grid.lanes.clock('ts') ~ ' / 1000' if wants_timestamp else 'value' }} AS v
FROM (
    SELECT
        labels,
        sample.1 AS ts,
        sample.2 AS value,
        {{ grid.lanes.clock('ts') }} + ({{ offset }}) AS seen_from,
        least(seen_from + least({{ reach }}, sample.3 - ts - 1), {{ grid.end }}) AS seen_until
    FROM (
        SELECT
            labels,
            arrayJoin(arrayZip(
                pairs.1, pairs.2, arrayPushBack(arrayPopFront(pairs.1), pairs.1[-1] + {{ reach }} + 1)
            )) AS sample
        FROM (
            SELECT labels, arraySort(p -> p.1, groupArray((ts, value))) AS pairs
            FROM ({{ samples }})
            GROUP BY labels
        )
    )
    WHERE seen_until >= {{ grid.start }}
)
{% endif %}
