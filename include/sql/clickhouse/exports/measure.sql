-- Rows and an order-independent hash of every value (the sum of cityHash64 modulo 2^64).
SELECT count() AS row_count, sum(cityHash64(*)) AS content_hash
FROM ({{ select }})
