-- An hour is judged again.
DELETE FROM quality_anomalies
WHERE
    window_start = {start:DateTime('UTC')}
    AND kind IN ('volume', 'freshness', 'distribution')
