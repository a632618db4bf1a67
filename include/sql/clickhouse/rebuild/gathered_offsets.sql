{# How many messages of a range were gathered. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
SELECT count() FROM {{ gathered }}
WHERE {{ rebuild.one_log() }}
    AND offset >= {first:UInt64} AND offset < {next:UInt64}
