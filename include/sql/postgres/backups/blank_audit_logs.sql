-- Have the audit trail forget what was in rows, not that they were there.
UPDATE audit_logs
SET old_value = NULL, new_value = NULL
WHERE table_name = %s AND row_key = ANY(%s)
