{# A rule at every minute asked for: the series that hold, and how many samples each selector found. #}
SELECT t, -1 AS part, labels, v
FROM ({{ statement }})
{% for selector in selectors %}
UNION ALL
SELECT t, {{ loop.index0 }} AS part, CAST(map(), 'Map(String, String)') AS labels, toFloat64(count()) AS v
FROM ({{ selector }})
GROUP BY t
{% endfor %}
LIMIT {{ row_limit }}
SETTINGS max_execution_time = {{ timeout_seconds }}
