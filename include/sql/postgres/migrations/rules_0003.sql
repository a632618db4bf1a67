-- How far the rejected events of a partition were relayed. While the topic lives, the offset that
-- Kafka holds is the truth and this follows it; with a deleted topic Kafka forgets it.
CREATE TABLE dead_letter_places (
    source_id text NOT NULL REFERENCES data_sources,
    topic text NOT NULL,
    topic_incarnation smallint NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL DEFAULT 0,
    superseded bigint NOT NULL DEFAULT -1,
    PRIMARY KEY (source_id, topic, topic_incarnation, partition)
);
COMMENT ON COLUMN dead_letter_places.superseded IS
    'Kafka''s offset when the incarnation began: it is the one before''s';

-- Earlier incarnations of a topic of which every rejected event was relayed.
CREATE TABLE relayed_incarnations (
    source_id text NOT NULL REFERENCES data_sources,
    topic text NOT NULL,
    topic_incarnation smallint NOT NULL,
    PRIMARY KEY (source_id, topic, topic_incarnation)
);

-- What was relayed before this table was there.
INSERT INTO dead_letter_places (source_id, topic, topic_incarnation, partition)
SELECT source_id, topic, topic_incarnation, partition FROM ingest_positions;
INSERT INTO relayed_incarnations
SELECT source_id, topic, earlier
FROM (
    SELECT source_id, topic, max(topic_incarnation) AS current FROM ingest_positions
    GROUP BY source_id, topic
) AS topics, generate_series(0, current - 1) AS earlier;
