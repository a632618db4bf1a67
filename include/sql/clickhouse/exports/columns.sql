{# The columns of an export's files, as they are. #}
DESCRIBE s3({{ collection }}, filename = '{{ prefix }}*.{{ suffix }}', format = '{{ format }}')
