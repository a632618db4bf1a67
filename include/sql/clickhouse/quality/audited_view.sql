{# The rows of a window, for Great Expectations to look at. #}
CREATE OR REPLACE VIEW {{ view }} AS
SELECT *
FROM {{ relation }}
WHERE {{ condition }}
