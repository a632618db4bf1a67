{# Events and rejected messages of today (UTC). #}
SELECT
    (SELECT count() FROM {{ base }}.events WHERE toDate(event_time) = today()) AS events,
    (SELECT count() FROM {{ base }}.rejected_events WHERE toDate(rejected_at) = today()) AS rejected
