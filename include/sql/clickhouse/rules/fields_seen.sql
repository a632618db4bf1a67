-- Fields of recent events and what their values look like; properties keep values as text.
SELECT
    event_type,
    field,
    multiIf(
        text IN ('true', 'false'), 'boolean',
        startsWith(text, '{'), 'object',
        startsWith(text, '['), 'array',
        toFloat64OrNull(text) IS NOT NULL, 'number',
        'string'
    ) AS value_type,
    count() AS occurrences,
    groupUniqArray(3)(leftUTF8(text, 200)) AS examples,
    min(ingested_at) AS first_seen_at,
    max(ingested_at) AS last_seen_at
FROM events
ARRAY JOIN mapKeys(properties) AS field, mapValues(properties) AS text
WHERE
    ingested_at >= {start:DateTime64(3, 'UTC')} AND ingested_at < {end:DateTime64(3, 'UTC')}
    AND text != ''
GROUP BY event_type, field, value_type
ORDER BY occurrences DESC, event_type, field, value_type
LIMIT 10000
