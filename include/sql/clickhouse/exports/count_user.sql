{# Rows of a person in the files of an export. #}
SELECT count()
FROM s3({{ collection }}, filename = '{{ prefix }}*.{{ suffix }}', format = '{{ format }}')
WHERE {{ condition }}
