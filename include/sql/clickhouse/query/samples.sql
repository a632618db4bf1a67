{# The newest rows of a base table that a metric's values of some time are made of. #}
SELECT {{ columns }}
FROM {{ relation }}
WHERE {{ time }} >= '{{ start }}' AND {{ time }} < '{{ end }}'
{% for condition in conditions %}
    AND ({{ condition }})
{% endfor %}
ORDER BY {{ time }} DESC
LIMIT {{ limit }}
SETTINGS date_time_output_format = 'iso'
