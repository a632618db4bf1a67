"""The dbt project seen from Airflow and the command line: deploys, state, docs."""
