-- The last generation under which a micro-batch was written; 0 if it was not written again.
SELECT max(generation) FROM batch_generations
WHERE source_id = {source_id:String} AND batch_id = {batch_id:UInt64}
    AND claimed_at = {claimed_at:DateTime64(3, 'UTC')}
