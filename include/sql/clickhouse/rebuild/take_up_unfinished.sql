{# Judge what a rebuild that died in its swap has left noted. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO elsewhere
SELECT * FROM {{ unfinished }}
WHERE {{ rebuild.place }} NOT IN (SELECT {{ rebuild.columns }} FROM elsewhere)
