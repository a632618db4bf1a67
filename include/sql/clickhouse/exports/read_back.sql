{# Rows and a hash of every value of each file that was written. #}
SELECT
    _file AS name,
    any(_size) AS byte_count,
    count() AS row_count,
    sum(cityHash64({{ columns | join(', ') }})) AS content_hash
FROM s3(
    {{ collection }}, filename = '{{ prefix }}*.{{ suffix }}', format = '{{ format }}',
    structure = {{ structure }}
)
GROUP BY _file
ORDER BY _file
