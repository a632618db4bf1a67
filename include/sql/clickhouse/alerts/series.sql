{#
  What one expression gives at the minutes asked for, with the columns of an evaluation.
  `own` keeps the series whose every label is an alert's: a map's literal, or nothing.
#}
SELECT t, -1 AS part, labels, v
FROM ({{ statement }})
{% if own %}
WHERE arrayAll(
    (name, value) -> name = '__name__' OR {{ own }}[name] = value,
    mapKeys(labels), mapValues(labels)
)
{% endif %}
LIMIT {{ row_limit }}
SETTINGS max_execution_time = {{ timeout_seconds }}, max_threads = 1
