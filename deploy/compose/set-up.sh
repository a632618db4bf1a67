#!/usr/bin/env bash
# Prepares the servers of docker-compose.yml: Airflow's database, pools, connections and passwords, then
# Millrace's topics, buckets, schemas, rules and models. Harmless when repeated.
set -euo pipefail

mkdir -p "$AIRFLOW_HOME"
umask 077
printf '{"admin": "%s", "query": "%s"}\n' "$AIRFLOW_PASSWORD" "$MILLRACE_AIRFLOW_QUERY_PASSWORD" \
    >"$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
airflow db migrate
airflow pools import deploy/airflow/pools.json
# Those that are there already are left as they are.
connections=$(mktemp --suffix .json)
python -m millrace.stack.connections >"$connections"
airflow connections import "$connections"
rm "$connections"
python -m millrace.cli migrate
