-- When each export was last looked at for windows that are due, and which were.
CREATE TABLE export_looks (
    name text PRIMARY KEY REFERENCES export_definitions ON DELETE CASCADE,
    looked_at timestamptz NOT NULL
);
CREATE TABLE export_waiting (
    name text NOT NULL REFERENCES export_definitions ON DELETE CASCADE,
    window_start timestamptz NOT NULL,
    PRIMARY KEY (name, window_start)
);
COMMENT ON TABLE export_waiting IS
    'Windows that were due at the last look: one that no run exports, or no gate lets pass, stays due';
