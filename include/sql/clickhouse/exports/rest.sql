{# The rows of an export's files without those of some people. #}
SELECT *
FROM s3(
    {{ collection }}, filename = '{{ prefix }}*.{{ suffix }}', format = '{{ format }}',
    structure = {{ structure }}
) AS source
WHERE NOT ({{ condition }})
