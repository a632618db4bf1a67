{# How many messages of a partition have a verdict, or are missing on purpose since their sender was
   erased, and how many offsets those are. #}
SELECT count() AS row_count, uniqExact(offset) AS offset_count
FROM (
{% for table in ['events', 'rejected_events', 'erased_positions'] %}
    SELECT {{ 'DISTINCT ' if table == 'erased_positions' }}offset
    FROM {{ table }}
    WHERE
        topic = {topic:String} AND topic_incarnation = {incarnation:UInt8}
        AND partition = {partition:UInt32}
        AND offset >= {first:UInt64} AND offset < {next:UInt64}
{{ '    UNION ALL' if not loop.last }}
{% endfor %}
)
