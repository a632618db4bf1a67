-- The last audits of each kind of window, as far back as the calendars of the history go.
SELECT
    dataset, window_kind, window_start, window_end, failures, unchecked, warnings, report,
    checked_at
FROM quality_audits FINAL
WHERE
    window_start >= now() - multiIf(
        window_kind = '5m', INTERVAL 6 HOUR, window_kind = '1h', INTERVAL 60 HOUR, INTERVAL 21 DAY
    )
ORDER BY
    transform(window_kind, ['5m', '1h', '1d'], [1, 2, 3], 4),
    transform(dataset, ['raw_events', 'events', 'rejected_events'], [1, 2, 3], 4),
    dataset,
    window_start
