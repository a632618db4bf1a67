-- Numbers of orders that were put back are not given again.
SELECT setval(
    pg_get_serial_sequence('erasures', 'erasure_id'),
    greatest((SELECT max(erasure_id) FROM erasures), 1),
    EXISTS (SELECT FROM erasures)
)
