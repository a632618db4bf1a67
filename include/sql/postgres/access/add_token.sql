-- Add an API token; nothing is added where its name stands already.
INSERT INTO api_tokens (token_id, name, digest, role, sources, datasets, expires_at)
VALUES (
    %(token_id)s, %(name)s, %(digest)s, %(role)s, %(sources)s, %(datasets)s, %(expires_at)s
)
ON CONFLICT DO NOTHING
