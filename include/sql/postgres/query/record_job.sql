-- Put down what somebody asks of a job: a run in Airflow, where no trigger of ours sees it.
INSERT INTO audit_logs (table_name, row_key, action, new_value, changed_by)
VALUES ('jobs', %(job)s, %(action)s, %(value)s, %(person)s)
