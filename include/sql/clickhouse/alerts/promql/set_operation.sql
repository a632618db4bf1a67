{# and, or, unless: series of the left side by whether the right side has their signature. #}
{% macro signed(vector) %}SELECT x.t AS t, x.labels AS labels, x.v AS v, {{ signature }} AS signature FROM ({{ vector }}) AS x{% endmacro %}
{% if operator == 'or' %}
SELECT t, labels, v FROM ({{ left }})
UNION ALL
SELECT r.t AS t, r.labels AS labels, r.v AS v
FROM ({{ signed(right) }}) AS r
LEFT ANTI JOIN ({{ signed(left) }}) AS l ON r.t = l.t AND r.signature = l.signature
{% else %}
SELECT l.t AS t, l.labels AS labels, l.v AS v
FROM ({{ signed(left) }}) AS l
LEFT {{ 'SEMI' if operator == 'and' else 'ANTI' }} JOIN ({{ signed(right) }}) AS r ON l.t = r.t AND l.signature = r.signature
{% endif %}
