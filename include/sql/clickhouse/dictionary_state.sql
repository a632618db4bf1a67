-- What a dictionary's comment says, and why it was not loaded the last time, if it was not.
SELECT tables.comment, dictionaries.last_exception
FROM system.tables AS tables
LEFT JOIN system.dictionaries AS dictionaries
    ON dictionaries.database = tables.database AND dictionaries.name = tables.name
WHERE tables.database = currentDatabase() AND tables.name = {name:String}
