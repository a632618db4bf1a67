-- How many copies of events the shadow holds.
SELECT count() - uniqExact(event_id) FROM {{ shadow }}
WHERE source_id IN {sources:Array(String)}
