{# Note the positions of every message that an erasure takes, wherever it is held. #}
INSERT INTO {{ positions }} (topic, topic_incarnation, partition, offset, erasure_id)
SELECT DISTINCT topic, topic_incarnation, partition, offset, {erasure:UInt64}
FROM (
{% for table, condition in holders.items() %}
    SELECT topic, topic_incarnation, partition, offset FROM {{ table }} WHERE {{ condition }}
{{ '    UNION ALL' if not loop.last }}
{% endfor %}
)
