{# Digests of the texts of a table of copies that are of one of these people: those are as short as the
   next, and say nothing of anybody where statements are kept. #}
{% import 'clickhouse/contract/person.sql.jinja' as person %}
SELECT DISTINCT hex(SHA256(text))
FROM (SELECT arrayJoin({{ texts }}) AS text FROM {{ table }})
WHERE {{ person.is_copy('text', person.own_texts(received, events, is_erased), shortest) }}
