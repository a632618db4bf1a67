-- How a route of alerts reaches people.
SELECT kind, connection_id, config, is_active FROM alert_routes WHERE name = %(name)s
