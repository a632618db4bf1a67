-- A table of events gets the column of a field that is new.
ALTER TABLE {{ table }} {{ on_cluster }}
ADD COLUMN IF NOT EXISTS {{ column }} {{ type }}
COMMENT {{ meaning }} {{ 'AFTER ' ~ before if before else 'FIRST' }}
