"""The embedded ClickHouse server: chDB held by one process and served over the HTTP protocol.

``python -m millrace.stack.engine --path DIR --port N`` starts it. Clients (clickhouse-connect,
dbt-clickhouse, clickhouse-sqlalchemy, Airflow's ClickHouse provider) use it as they would use a
ClickHouse server; ``docs/decisions/embedded-clickhouse.md`` says why it exists, what it covers
and where it differs.

A request flows ``app`` (HTTP) → ``request`` (what the client asks) → ``statement`` (what kind of
SQL it is) → ``execution`` (runs it on a handle of ``handles``) → ``app`` (streams the answer).
"""
