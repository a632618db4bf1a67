{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
-- How many messages a gate rejects, by first reason; '' for those that it lets pass.
-- Merging the gate's stages into one expression would compute shared parts again and again.
SELECT if(empty(failures), '', {{ failure.reason('failures[1]') }}) AS reason, count() AS messages
FROM (
    {{ statement }}
)
GROUP BY reason
SETTINGS query_plan_merge_expressions = 0
