SELECT s.t AS t, {{ labels }} AS labels, toFloat64(1) AS v
FROM ({{ steps }}) AS s
LEFT ANTI JOIN ({{ present }}) AS p ON s.t = p.t
