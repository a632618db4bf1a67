-- Quality of one hour by source. The hour is that in which Kafka got the messages, so that it can
-- be closed; targets are in millrace.quality.metrics.
--
-- completeness  messages received that are in events or in rejected_events
-- consistency   messages of those that are in exactly one of the two, once
-- timeliness    events that were taken up within {on_time_seconds} s of reaching Kafka
-- uniqueness    events whose event_id no other event of the hour has
-- accuracy      events, of a sample, whose id, user and type are what the message itself says, under the
--               names that its source has for them; {changed} are those that a rule changes there, as
--               source, field and type of event (empty: all), which are not compared
{% macro said(field) -%}
r.value, transform(e.source_id, {sources:Array(String)}, {{ '{%s_keys:Array(String)}' % field }}, '{{ field }}')
{%- endmacro %}
{% macro is_changed(field) -%}
hasAny(
    {changed:Array(Tuple(String, String, String))},
    [(toString(e.source_id), '{{ field }}', ''), (toString(e.source_id), '{{ field }}', toString(e.event_type))]
)
{%- endmacro %}
WITH
    received AS (
        SELECT source_id, topic, topic_incarnation, partition, offset
        FROM raw_events
        WHERE kafka_timestamp >= {start:DateTime64(3, 'UTC')} AND kafka_timestamp < {end:DateTime64(3, 'UTC')}
    ),
    judged AS (
        SELECT
            source_id, topic, topic_incarnation, partition, offset,
            count() AS places
        FROM (
            SELECT source_id, topic, topic_incarnation, partition, offset
            FROM events
            WHERE received_at >= {start:DateTime64(3, 'UTC')} AND received_at < {end:DateTime64(3, 'UTC')}
            UNION ALL
            SELECT source_id, topic, topic_incarnation, partition, offset
            FROM rejected_events
            WHERE
                kafka_timestamp >= {start:DateTime64(3, 'UTC')}
                AND kafka_timestamp < {end:DateTime64(3, 'UTC')}
        )
        GROUP BY source_id, topic, topic_incarnation, partition, offset
    ),
    loaded AS (
        SELECT source_id, event_id, received_at, ingested_at
        FROM events
        WHERE received_at >= {start:DateTime64(3, 'UTC')} AND received_at < {end:DateTime64(3, 'UTC')}
    ),
    sampled AS (
        SELECT
            e.source_id AS source_id,
            {{ is_changed('event_id') }} AS is_id_changed,
            {{ is_changed('user_id') }} AS is_user_changed,
            {{ is_changed('event') }} AS is_type_changed,
            (is_id_changed OR e.event_id = toUUIDOrZero(JSONExtractString({{ said('event_id') }})))
            AND (is_user_changed OR e.user_id = toUInt64OrZero(
                extract(JSONExtractRaw({{ said('user_id') }}), '^"?\\s*0*([0-9]+)(?:[.]0*)?\\s*"?$')
            ))
            AND (is_type_changed OR e.event_type = JSONExtractString({{ said('event') }})) AS is_same
        FROM events AS e
        INNER JOIN raw_events AS r
            ON e.source_id = r.source_id AND e.topic = r.topic
            AND e.topic_incarnation = r.topic_incarnation
            AND e.partition = r.partition AND e.offset = r.offset
        WHERE
            e.received_at >= {start:DateTime64(3, 'UTC')} AND e.received_at < {end:DateTime64(3, 'UTC')}
            AND r.kafka_timestamp >= {start:DateTime64(3, 'UTC')}
            AND r.kafka_timestamp < {end:DateTime64(3, 'UTC')}
            AND e.offset % {sample_step:UInt64} = 0
            AND r.offset % {sample_step:UInt64} = 0
            AND NOT (is_id_changed AND is_user_changed AND is_type_changed)
    )
SELECT
    source_id,
    'completeness' AS metric,
    countIf(places > 0) AS good,
    count() AS total
FROM received LEFT JOIN judged USING (source_id, topic, topic_incarnation, partition, offset)
GROUP BY source_id
UNION ALL
SELECT source_id, 'consistency', countIf(places = 1), count() FROM judged GROUP BY source_id
UNION ALL
SELECT
    source_id, 'timeliness',
    countIf(ingested_at <= received_at + toIntervalSecond({on_time_seconds:UInt32})), count()
FROM loaded GROUP BY source_id
UNION ALL
SELECT source_id, 'uniqueness', uniqExact(event_id), count() FROM loaded GROUP BY source_id
UNION ALL
SELECT source_id, 'accuracy', countIf(is_same), count() FROM sampled GROUP BY source_id
