{# A dataset as others may read it: its published windows. #}
CREATE OR REPLACE VIEW published.{{ dataset }} {{ on_cluster }} AS
SELECT *
FROM {{ relation }}
WHERE
    dictGetOrDefault(
        '{{ database }}.published_ranges', 'is_published', tuple('{{ dataset }}'),
        toInt64(toUnixTimestamp({{ time_column }})), 0
    )
