{# PostgreSQL's address and credentials, for dictionaries to name. #}
CREATE NAMED COLLECTION IF NOT EXISTS {{ collection }} AS
    host = %(host)s, port = %(port)s, database = %(database)s, user = %(user)s,
    password = %(password)s
