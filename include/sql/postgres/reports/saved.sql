-- A saved object, if the owner of a report sees it.
SELECT name, content FROM saved_objects
WHERE object_id::text = %(id)s AND (owner = %(owner)s OR sharing <> 'private')
