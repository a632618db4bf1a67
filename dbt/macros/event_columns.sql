{#- What a message becomes, as millrace.contract.fields has it. Generated: ./millrace generate -#}
{% macro event_columns() -%}
    event_id,
    event_type,
    event_time,
    user_id,
    page,
    country,
    device,
    properties,
    device_info,
    geo_location
{%- endmacro %}
