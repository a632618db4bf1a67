{# What PostgreSQL knows of users, as a dictionary that the gate asks. #}
CREATE OR REPLACE DICTIONARY user_profiles
(
    user_id UInt64,
    country String DEFAULT '',
    plan String DEFAULT ''
)
PRIMARY KEY user_id
SOURCE(POSTGRESQL(NAME {{ collection }} TABLE 'user_profiles'))
LAYOUT(HASHED_ARRAY())
LIFETIME(MIN 60 MAX 120)
COMMENT 'Profiles of users, for enrichment, from {{ place }}; while it is away, the last state is used'
