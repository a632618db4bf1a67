{# The rows of a window, or some columns of them. #}
SELECT {{ columns | default('*') }} FROM {{ relation }} WHERE {{ condition }}
