-- Note that tokens were used; one that was deleted meanwhile is left out.
INSERT INTO api_token_usage (token_id, used_at)
SELECT token_id, clock_timestamp() FROM api_tokens WHERE token_id = ANY(%(token_ids)s)
ON CONFLICT (token_id) DO UPDATE SET used_at = excluded.used_at
