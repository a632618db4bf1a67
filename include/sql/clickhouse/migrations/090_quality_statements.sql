-- Results say in words what was found, and tell a check that could not run from data that is wrong.
ALTER TABLE quality_results {{ on_cluster }}
    ADD COLUMN IF NOT EXISTS statement String DEFAULT expectation
        COMMENT 'What is so, in words: the expectation where it holds, its opposite where it does not'
        AFTER expectation,
    ADD COLUMN IF NOT EXISTS is_checked Bool DEFAULT true
        COMMENT 'False: the check could not run; whether the data is right is not known'
        AFTER is_success
;
ALTER TABLE quality_audits {{ on_cluster }}
    ADD COLUMN IF NOT EXISTS unchecked UInt16 DEFAULT 0
        COMMENT 'Failures among them that could not be checked; the others are wrong data'
        AFTER failures
