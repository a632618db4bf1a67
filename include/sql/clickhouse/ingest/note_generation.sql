-- Before anything of a rewrite is written.
INSERT INTO batch_generations (source_id, batch_id, claimed_at, generation)
VALUES (
    {source_id:String}, {batch_id:UInt64}, {claimed_at:DateTime64(3, 'UTC')}, {generation:UInt32}
)
