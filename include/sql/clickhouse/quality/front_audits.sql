-- The last audits of each kind of window: six hours of five minutes, two days of hours, two weeks.
SELECT dataset, window_kind, window_start, window_end, failures, warnings, report
FROM quality_audits FINAL
WHERE
    window_start >= now() - multiIf(
        window_kind = '5m', INTERVAL 6 HOUR, window_kind = '1h', INTERVAL 50 HOUR, INTERVAL 15 DAY
    )
ORDER BY
    transform(window_kind, ['5m', '1h', '1d'], [1, 2, 3], 4),
    transform(dataset, ['raw_events', 'events', 'rejected_events'], [1, 2, 3], 4),
    dataset,
    window_start
