-- What tells a sandbox whose events and models are all there from one that was cut off.
CREATE TABLE {{ database }}.whole_sample {{ on_cluster }} (taken_at DateTime)
ENGINE = {{ engine }} ORDER BY taken_at
