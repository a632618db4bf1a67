-- Where each replayed message ended, told by the headers it carries.
WITH
    arrived AS (
        SELECT
            topic, topic_incarnation, partition, offset,
            JSONExtract(headers, 'Array(Array(String))') AS pairs,
            base64Decode(arrayFirst(pair -> pair[1] = {origin:String}, pairs)[2]) AS origin
        FROM raw_events
        WHERE
            source_id = {source_id:String}
            AND ingested_at >= {since:DateTime64(3, 'UTC')}
            AND position(headers, {name:String}) > 0
            AND base64Decode(arrayFirst(pair -> pair[1] = {name:String}, pairs)[2])
            = {replay_id:String}
    ),
    judged AS (
        SELECT topic, topic_incarnation, partition, offset, 'accepted' AS outcome
        FROM events
        WHERE source_id = {source_id:String} AND ingested_at >= {since:DateTime64(3, 'UTC')}
        UNION ALL
        SELECT topic, topic_incarnation, partition, offset, reason::String
        FROM rejected_events
        WHERE source_id = {source_id:String} AND rejected_at >= {since:DateTime64(3, 'UTC')}
    )
SELECT origin, any(outcome)
FROM arrived INNER JOIN judged USING (topic, topic_incarnation, partition, offset)
GROUP BY origin
