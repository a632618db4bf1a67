{# Add an export's definition, or change it; whether one that is there is on stays. #}
INSERT INTO export_definitions (
    name, description, relation, columns, time_column, arrival_column, order_by, schedule, gate,
    format, destination, personal_data, retention_days, is_active
) VALUES (
    %(name)s, %(description)s, %(relation)s, %(columns)s, %(time_column)s, %(arrival_column)s,
    %(order_by)s, %(schedule)s, %(gate)s, %(format)s, %(destination)s, %(personal_data)s,
    %(retention_days)s, %(is_active)s
)
ON CONFLICT (name) DO UPDATE SET
    description = excluded.description, relation = excluded.relation, columns = excluded.columns,
    time_column = excluded.time_column, arrival_column = excluded.arrival_column,
    order_by = excluded.order_by, schedule = excluded.schedule, gate = excluded.gate,
    format = excluded.format, destination = excluded.destination,
    personal_data = excluded.personal_data, retention_days = excluded.retention_days
