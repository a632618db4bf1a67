{# A function of one window at a time. `ts` are in ms, `window_end` is where the window closes. #}
SELECT t, labels, {{ value }} AS v
FROM (SELECT t, labels, ts, vs, {{ window_end }} AS window_end, {{ extra }} AS argument FROM ({{ windows }}))
WHERE {{ condition }}
