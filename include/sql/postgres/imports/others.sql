-- Imports of the same file into the same topic that were read otherwise, and began to send.
SELECT mapping, reading, rows_sent, sending_at, finished_at
FROM file_imports
WHERE
    digest = %(digest)s AND topic = %(topic)s AND reading <> %(reading)s
    AND sending_at IS NOT NULL
ORDER BY sending_at DESC
