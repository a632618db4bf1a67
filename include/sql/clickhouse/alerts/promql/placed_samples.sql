{# Each sample once for every step whose window holds it. #}
{% set at = grid.lanes.clock('ts') %}
SELECT
    labels, ts, value,
    {{ grid.lanes.start('ts') }} + {{ grid.start }} + {{ grid.step }} * arrayJoin(range(
{% if is_pinned %}
        toInt64(0),
        intDiv({{ grid.end }} - {{ grid.start }} + {{ grid.step }}, {{ grid.step }})
{% else %}
        intDiv(greatest({{ at }} + ({{ offset }}), {{ grid.start }}) - {{ grid.start }} + {{ grid.step }} - 1, {{ grid.step }}),
        intDiv(least({{ at }} + ({{ offset }}) + {{ reach }}, {{ grid.end }}) - {{ grid.start }}, {{ grid.step }}) + 1
{% endif %}
    )) AS t
FROM ({{ samples }})
