CREATE OR REPLACE VIEW {{ view }} AS
SELECT *
FROM {{ table }}
WHERE
    {{ time_column }} >= toDateTime64('{{ start }}', 3, 'UTC')
    AND {{ time_column }} < toDateTime64('{{ end }}', 3, 'UTC')
