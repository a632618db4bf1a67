{# The rows of an export's window. #}
SELECT
{% for column in columns %}
    {{ column.expression }} AS `{{ column.name }}`{{ ',' if not loop.last }}
{% endfor %}
FROM {{ relation }} AS source
WHERE
    source.`{{ time_column }}` >= {window_start:DateTime64(3,'UTC')}
    AND source.`{{ time_column }}` < {window_end:DateTime64(3,'UTC')}
{% if arrival_column %}
    AND source.`{{ arrival_column }}` < {snapshot_at:DateTime64(3,'UTC')}
{% endif %}
{% for condition in filters %}
    AND ({{ condition }})
{% endfor %}
