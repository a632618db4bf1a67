{# Events by page. #}
{% from 'clickhouse/verify/macros.sql.jinja' import scoped %}
SELECT page, count() AS events
FROM ({{ scoped(target, 't.page AS page', ranges) }})
GROUP BY page
