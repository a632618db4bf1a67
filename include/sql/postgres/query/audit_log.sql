{# What was changed, the newest first, behind a place, one more than asked for. #}
SELECT audit_id, table_name, row_key, action, old_value, new_value, changed_by, changed_at
FROM audit_logs
WHERE
    audit_id < %(after)s
{% for name, condition in (
    ('table_name', 'table_name = %(table_name)s'),
    ('row_key', 'row_key = %(row_key)s'),
    ('action', 'action = %(action)s'),
    ('changed_by', 'changed_by = %(changed_by)s'),
    ('since', 'changed_at >= %(since)s'),
    ('until', 'changed_at < %(until)s'),
) if name in given %}
    AND {{ condition }}
{% endfor %}
ORDER BY audit_id DESC
LIMIT %(limit)s
