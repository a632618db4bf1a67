-- The windows whose events are withheld.
SELECT window_start, window_end
FROM published_windows
WHERE status = 'withheld' AND dataset = 'events'
