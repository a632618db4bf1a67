{# Condition: a message as it was received is of one of these people. #}
{% import 'clickhouse/contract/person.sql.jinja' as person %}
{{ person.sent(names) }}
