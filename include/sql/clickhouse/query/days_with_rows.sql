{# The days of which the base tables have rows. #}
SELECT table, arraySort(groupUniqArray(toUInt32(toDate(partition)))) AS days
FROM system.parts
WHERE database = '{{ base }}' AND table IN ('events', 'rejected_events') AND active AND rows > 0
GROUP BY table
