SELECT count()
FROM s3({{ collection }}, filename = '{{ prefix }}*.{{ suffix }}', format = '{{ format }}')
WHERE {{ condition }}
