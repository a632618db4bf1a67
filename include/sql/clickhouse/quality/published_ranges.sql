{# Which ranges of time are published, as a dictionary over PostgreSQL. #}
CREATE OR REPLACE DICTIONARY published_ranges {{ on_cluster }}
(
    dataset String,
    first_second Int64,
    last_second Int64,
    is_published UInt8 DEFAULT 0
)
PRIMARY KEY dataset
SOURCE(POSTGRESQL(NAME {{ collection }} DATABASE '{{ ledger }}' TABLE 'published_ranges'))
LAYOUT(COMPLEX_KEY_RANGE_HASHED())
RANGE(MIN first_second MAX last_second)
LIFETIME(MIN 60 MAX 120)
COMMENT 'Times of each dataset that passed their audits; what published_windows says, in {{ place }}'
