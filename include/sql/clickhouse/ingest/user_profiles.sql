{# What PostgreSQL knows of users, as a dictionary that the gate asks. #}
CREATE DICTIONARY IF NOT EXISTS user_profiles
(
    user_id UInt64,
    country String DEFAULT '',
    plan String DEFAULT ''
)
PRIMARY KEY user_id
SOURCE(POSTGRESQL(NAME {{ collection }} TABLE 'user_profiles'))
LAYOUT(HASHED_ARRAY())
LIFETIME(MIN 60 MAX 120)
COMMENT 'Profiles of users, for enrichment; a server that is away leaves the last state in use'
