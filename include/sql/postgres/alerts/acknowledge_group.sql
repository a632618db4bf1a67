-- Note who has taken an incident in hand.
UPDATE alert_groups SET acknowledged_by = %(author)s, acknowledged_at = %(at)s
WHERE route = %(route)s AND group_key = %(group_key)s
