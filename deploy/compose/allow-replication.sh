#!/usr/bin/env bash
# Runs once, when PostgreSQL's volume is new: base backups and the archiver of the log come from
# other containers, over the replication protocol.
set -euo pipefail

echo "host replication $POSTGRES_USER all scram-sha-256" >>"$PGDATA/pg_hba.conf"
