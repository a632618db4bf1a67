-- Revoke the API token that has a name.
UPDATE api_tokens SET revoked_at = clock_timestamp()
WHERE name = %(name)s AND revoked_at IS NULL
