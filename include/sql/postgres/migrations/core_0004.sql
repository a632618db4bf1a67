-- Numbers of micro-batches begin with the second in which they are given. Those of a plain sequence
-- come again once PostgreSQL was set back, while the warehouse still has the messages of the first
-- that had them. The counter tells apart up to 2^20 of one second.
CREATE SEQUENCE ingest_batch_counter MINVALUE 0 MAXVALUE 1048575 CYCLE;
CREATE FUNCTION next_batch_id() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (floor(extract(epoch FROM clock_timestamp()))::bigint << 20)
        | nextval('ingest_batch_counter')
$$;
ALTER TABLE ingest_batches ALTER COLUMN batch_id DROP IDENTITY;
ALTER TABLE ingest_batches ALTER COLUMN batch_id SET DEFAULT next_batch_id();
