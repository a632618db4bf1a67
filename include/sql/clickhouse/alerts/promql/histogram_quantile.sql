{# bucketQuantile of Prometheus (promql/quantile.go): linear within the bucket that holds the rank. #}
SELECT
    t, labels,
    multiIf(
        isNaN(q), nan,
        q < 0, -inf,
        q > 1, inf,
        length(bounds) < 2 OR bounds[-1] != inf OR observations = 0, nan,
        place = length(bounds), bounds[-2],
        place = 1 AND bounds[1] <= 0, bounds[1],
        floor_bound + (bounds[place] - floor_bound) * (q * observations - floor_count) / (counts[place] - floor_count)
    ) AS v
FROM (
    SELECT
        t, labels, q, bounds, counts,
        counts[-1] AS observations,
        if(firstly = 0, length(bounds), firstly) AS place,
        if(place > 1, bounds[place - 1], 0.) AS floor_bound,
        if(place > 1, counts[place - 1], 0.) AS floor_count
    FROM (
        SELECT
            t, labels, {{ argument }} AS q,
            arraySort(groupArray((bound, amount))) AS buckets,
            buckets.1 AS bounds,
            arrayMap(i -> arrayMax(arraySlice(buckets.2, 1, i)), arrayEnumerate(buckets)) AS counts,
            arrayFirstIndex(c -> c >= q * counts[-1], arrayPopBack(counts)) AS firstly
        FROM (
            SELECT t, labels, bound, sum(v) AS amount
            FROM (
                SELECT
                    x.t AS t, x.v AS v,
                    mapFilter((k, l) -> k NOT IN ('__name__', 'le'), x.labels) AS labels,
                    toFloat64OrNull(x.labels['le']) AS bound
                FROM ({{ vector }}) AS x
            )
            WHERE isNotNull(bound)
            GROUP BY t, labels, bound
        )
        GROUP BY t, labels
    )
)
