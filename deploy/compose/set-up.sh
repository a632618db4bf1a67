#!/usr/bin/env bash
# Prepares the servers of docker-compose.yml: Airflow's database, pools, connections and passwords, then
# Millrace's topics, buckets, schemas, rules and models. Harmless when repeated.
set -euo pipefail

mkdir -p "$AIRFLOW_HOME"
umask 077
# By Python: a password may hold what means something in JSON.
python -c 'import json, os
names = {"admin": "AIRFLOW_PASSWORD", "query": "MILLRACE_AIRFLOW_QUERY_PASSWORD"}
print(json.dumps({user: os.environ[name] for user, name in names.items()}))' \
    >"$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
airflow db migrate
airflow pools import deploy/airflow/pools.json
# Those that are there already are left as they are.
connections=$(mktemp --suffix .json)
python -m millrace.stack.connections >"$connections"
airflow connections import "$connections"
rm "$connections"
python -m millrace.cli migrate
