-- Note which windows are due, of those up to the last that was looked at, and when that was.
WITH look AS (
    INSERT INTO export_looks AS before (name, looked_at)
    VALUES (%(name)s, %(look)s)
    ON CONFLICT (name) DO UPDATE SET looked_at = greatest(before.looked_at, excluded.looked_at)
),
done AS (
    DELETE FROM export_waiting
    WHERE
        name = %(name)s AND window_start <= %(last)s
        AND window_start <> ALL(%(starts)s::timestamptz[])
)
INSERT INTO export_waiting (name, window_start)
SELECT %(name)s, window_start FROM unnest(%(starts)s::timestamptz[]) AS due (window_start)
ON CONFLICT DO NOTHING
