SELECT count() AS row_count, sum(cityHash64(*)) AS content_hash FROM {{ table }}
