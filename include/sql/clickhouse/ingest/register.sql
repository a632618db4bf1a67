-- The first writer of a hash wins, whichever worker asks and however often.
INSERT INTO event_id_register (event_hash, position, ingested_hour)
SELECT event_hash, position, toUInt32(toUnixTimestamp({claimed_at:DateTime64(3, 'UTC')}) / 3600)
FROM staged
WHERE empty(failures)
{% if is_repeat %}
    AND (partition, offset) NOT IN (SELECT partition, offset FROM present WHERE place = 'rejected')
{% endif %}
