-- The settings of accounts, and within which bounds a client may change them.
CREATE SETTINGS PROFILE OR REPLACE {{ profile }} {{ on_cluster }}
SETTINGS {{ clauses | join(', ') }}
