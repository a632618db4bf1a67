SELECT count() FROM {{ base }}.events WHERE event_time >= today() - {days:UInt32}
