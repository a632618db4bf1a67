CREATE OR REPLACE VIEW {{ view }} AS
SELECT *
FROM {{ relation }}
WHERE {{ condition }}
