-- Datasets of which a window was judged since.
SELECT DISTINCT dataset FROM published_windows WHERE checked_at >= %(since)s
