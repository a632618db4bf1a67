-- How long a table keeps its rows.
ALTER TABLE {{ table }} {{ on_cluster }}
MODIFY TTL toDateTime({{ column }}) + INTERVAL {{ days }} DAY
