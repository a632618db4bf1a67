{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
-- How many messages a gate rejects, by first reason; '' for those that it lets pass.
SELECT if(empty(failures), '', {{ failure.reason('failures[1]') }}) AS reason, count() AS messages
FROM (
    {{ statement }}
)
GROUP BY reason
