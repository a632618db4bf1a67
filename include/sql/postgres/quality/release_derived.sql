-- Windows withheld only because of what they are made from are published once that is.
UPDATE published_windows AS derived
SET status = 'published', reason = '', checked_at = now()
WHERE
    derived.dataset = %(dataset)s
    AND derived.status = 'withheld'
    AND derived.reason LIKE 'made from withheld %%'
    AND NOT EXISTS (
        SELECT FROM published_windows AS source
        WHERE
            source.dataset = ANY(%(made_from)s)
            AND source.status = 'withheld'
            AND source.window_start < derived.window_end
            AND source.window_end > derived.window_start
    )
