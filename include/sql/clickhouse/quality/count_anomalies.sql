-- How many series of an hour stood out in the judgement of a moment.
SELECT count()
FROM quality_anomalies FINAL
WHERE window_start = {start:DateTime('UTC')} AND found_at = {now:DateTime64(3, 'UTC')}
