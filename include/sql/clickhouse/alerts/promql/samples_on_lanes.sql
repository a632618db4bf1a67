{# The samples of several rules, each on the lanes of the rules that ask for it. #}
SELECT labels, ts + {{ width }} * lane AS ts, value
FROM (SELECT labels, ts, value, arrayJoin({{ lanes }}) AS lane FROM ({{ samples }}))
WHERE {{ condition }}
