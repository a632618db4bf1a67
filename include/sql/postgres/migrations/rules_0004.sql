-- What a gate's statement was made of, so that it can be asked of other relations than a
-- micro-batch's. Gates from before have none; the next compilation gives it to the one in force.
ALTER TABLE gates ADD COLUMN definition jsonb;
COMMENT ON COLUMN gates.definition IS
    'The gate as expressions (millrace.contract.gate); NULL if an earlier version compiled it';
