{# Those of some positions whose event was young enough when it was received, and has outlived by now
   what its table keeps. Nothing else may be missing for its age. -#}
{% from 'clickhouse/verify/macros.sql.jinja' import scoped %}
WITH parseDateTime64BestEffortOrZero(JSONExtractString(value, {timestamp_field:String}), 3, 'UTC')
    AS event_time
SELECT partition, offset
FROM ({{ scoped('raw_events', 't.partition AS partition, t.offset AS offset, t.value AS value, t.ingested_at AS ingested_at', ranges) }})
WHERE event_time >= ingested_at - toIntervalDay({days:UInt32})
    AND toDateTime(event_time) + toIntervalDay({days:UInt32}) <= now()
