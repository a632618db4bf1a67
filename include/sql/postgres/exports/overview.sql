{# Each export with its newest window, and how many windows are not out for which reason. #}
SELECT
    d.name, d.schedule, d.gate, d.personal_data,
    coalesce(to_char(max(r.window_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), '') AS last_window,
    coalesce(sum(r.row_count), 0) AS row_count,
    coalesce((
        SELECT string_agg(format('%%s %%s: %%s', x.windows, x.state, x.reason), '; ')
        FROM (
            SELECT state, reason, count(*) AS windows
            FROM (
                SELECT DISTINCT ON (window_start) state, reason
                FROM export_runs WHERE name = d.name ORDER BY window_start, run_id DESC
            ) AS newest
            WHERE state IN ('skipped', 'failed')
            GROUP BY state, reason
        ) AS x
    ), '') AS not_out
FROM export_definitions AS d
LEFT JOIN exported_windows AS w USING (name)
LEFT JOIN export_runs AS r ON r.run_id = w.run_id
GROUP BY d.name, d.schedule, d.gate, d.personal_data
ORDER BY d.name
