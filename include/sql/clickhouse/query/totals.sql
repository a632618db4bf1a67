{# Each group's value over a whole range, largest first. `values` is values.sql of one bucket. #}
SELECT {{ groups }}, value
FROM (
    {{ values }}
)
ORDER BY value DESC, {{ groups }}
LIMIT {{ limit }}
