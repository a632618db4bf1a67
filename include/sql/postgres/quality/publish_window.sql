INSERT INTO published_windows (dataset, window_start, window_end, status, reason)
VALUES (%(dataset)s, %(start)s, %(end)s, %(status)s, %(reason)s)
ON CONFLICT (dataset, window_start, window_end) DO UPDATE
SET status = EXCLUDED.status, reason = EXCLUDED.reason, checked_at = now()
