-- What a gate's statement was made of, so that it can be asked of other relations than a
-- micro-batch's. Gates from before have none; the next compilation gives it to the one in force.
ALTER TABLE gates ADD COLUMN definition jsonb;
COMMENT ON COLUMN gates.definition IS
    'The gate as expressions (millrace.contract.gate); NULL if an earlier version compiled it';

-- Baselines by the terms of statistics: a median and how far a value may be from it.
UPDATE rule_baselines
SET baselines = (
    SELECT jsonb_agg(
        one - 'middles' - 'reaches'
        || jsonb_build_object('medians', one -> 'middles', 'tolerances', one -> 'reaches')
    )
    FROM jsonb_array_elements(baselines) AS one
)
WHERE jsonb_typeof(baselines) = 'array' AND baselines -> 0 ? 'middles';
