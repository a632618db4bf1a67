-- Users' numbers go up to 2^64-1, beyond bigint.
ALTER TABLE erasures ALTER COLUMN user_id TYPE numeric(20);
