-- What a person was shown, message by message, so that it is what their approval sends.
CREATE TABLE previewed_events (
    replay_id bigint NOT NULL REFERENCES replays ON DELETE CASCADE,
    sequence bigint NOT NULL,
    topic text NOT NULL,
    topic_incarnation smallint NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (replay_id, sequence)
);

ALTER TABLE replayed_events ADD COLUMN detail text NOT NULL DEFAULT '';
COMMENT ON COLUMN replayed_events.outcome IS
    'accepted; the reason it was rejected for; expired or refused: not sent; null: not yet known';
COMMENT ON COLUMN replayed_events.detail IS 'Why it was not sent';
