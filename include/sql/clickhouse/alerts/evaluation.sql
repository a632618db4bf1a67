{#
  Rules of one shape at every minute asked for: the series that hold, and which selectors found
  samples. `t` tells the rule as well (millrace.alerts.promql.lanes).
  One thread a statement: statements are many and small, and run side by side. What would be
  compiled to machine code has run by then.
#}
SELECT t, -1 AS part, labels, v
FROM ({{ statement }})
{% for selector in selectors %}
UNION ALL
SELECT t, {{ loop.index0 }} AS part, CAST(map(), 'Map(String, String)') AS labels, 1. AS v
FROM ({{ selector }})
{% endfor %}
LIMIT {{ row_limit }}
SETTINGS max_execution_time = {{ timeout_seconds }}, max_threads = 1, compile_expressions = 0,
    compile_aggregate_expressions = 0, compile_sort_description = 0
