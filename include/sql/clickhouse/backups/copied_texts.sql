{# Texts of a table of copies that are of one of these people. #}
{% import 'clickhouse/contract/person.sql.jinja' as person %}
SELECT DISTINCT text
FROM (SELECT arrayJoin({{ texts }}) AS text FROM {{ table }})
WHERE {{ person.is_copy('text', person.own_texts(received, events, is_erased), shortest) }}
