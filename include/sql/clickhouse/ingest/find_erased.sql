{# Messages at hand that an erasure covers. #}
{% import 'clickhouse/contract/erased.sql.jinja' as erasure %}
INSERT INTO erased {{ erasure.places(read, received) }}
