-- How many events a sandbox can choose from.
SELECT count() FROM {{ base }}.events WHERE event_time >= today() - {days:UInt32}
