{# The rows of a window, for Great Expectations to look at. #}
CREATE OR REPLACE VIEW {{ view }} AS
{% include 'clickhouse/quality/window_rows.sql' %}
