{# The gate: one reading of each message, and what speaks against it. #}
WITH
    parsed AS (
        SELECT
            *,
            {{ claimed_at }} AS claimed_at,
            JSONExtract(value, 'Map(String, String)') AS plain,
            {{ marked }} AS marked_once
        FROM {{ relation }}
    ),
    read AS (
        SELECT
            *,
            marked_once[1] AS marked,
            if(
                marked != '',
                JSONExtract(replaceAll(marked, '\x01', '"'), 'Map(String, String)'),
                plain
            ) AS fields
        FROM parsed
    ),
{% for stage in gate.stages %}
    stage_{{ loop.index }} AS (
        SELECT
            *,
{% for alias, expression in stage.items() %}
            {{ expression }} AS {{ alias }}{{ '' if loop.last else ',' }}
{% endfor %}
        FROM {{ 'read' if loop.first else 'stage_%d' % loop.index0 }}
    ),
{% endfor %}
    judged AS (
        SELECT
            *,
            -- What can't be read at all has that one failure; the others would only repeat it.
            multiIf(
                match(value, '^[ \\t\\r\\n]*$'), {{ unreadable('empty_message') }},
                length(value) > {{ gate.message_max_bytes }}, {{ unreadable('message_too_large') }},
                empty(fields) AND JSONType(value) != 'Object', {{ unreadable('malformed_json') }},
                ''
            ) AS unreadable,
            -- One boolean for each row; the list of failures is made for those that have any.
            (length(value) > {{ gate.message_max_bytes }} OR {{ gate.is_broken }}) AS is_broken,
            ({{ gate.is_warned }}) AS is_warned
        FROM stage_{{ gate.stages | length }}
    )
SELECT
    topic,
    topic_incarnation,
    partition,
    offset,
    kafka_timestamp,
{% for column, expression in gate.columns.items() %}
    {{ expression }} AS {{ column }},
{% endfor %}
    if(
        is_broken,
        if(unreadable != '', [unreadable], {{ gate.failures }}),
        []
    ) AS failures,
    if(is_warned AND NOT is_broken, {{ gate.warnings }}, []) AS warnings
{%- for column in passed_on %}
,
    {{ column }}
{%- endfor %}

FROM judged
