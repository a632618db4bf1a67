{# absent(): one series of value 1 at each step at which the vector has nothing. #}
SELECT s.t AS t, {{ labels }} AS labels, toFloat64(1) AS v
FROM ({{ steps }}) AS s
LEFT ANTI JOIN ({{ present }}) AS p ON s.t = p.t
