{#
  The series among `parts`, SELECTs of samples: the labels of each, the names of their labels, or
  the values of one, by what is `wanted`; `label` is a parameter.
#}
{% set columns = {'series': 'labels', 'names': 'arrayJoin(mapKeys(labels))', 'values': 'labels[{label:String}]'} %}
SELECT DISTINCT {{ columns[wanted] }} AS found
FROM (
    SELECT DISTINCT labels FROM ({{ parts | join(' UNION ALL ') }})
)
{% if wanted == 'values' %}
WHERE found != ''
{% endif %}
ORDER BY {{ 'toString(found)' if wanted == 'series' else 'found' }}
LIMIT {{ limit }}
SETTINGS output_format_json_validate_utf8 = 1
