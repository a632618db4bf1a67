{#- Every metric in the long form is described, and with exactly the dimensions it has. -#}
{% test defined_metric(model, column_name) %}
select distinct
    found.{{ column_name }} as metric_name,
    arraySort(mapKeys(found.dimensions)) as found_dimensions
from {{ model }} as found
left join {{ ref('metric_definitions') }} as defined on found.{{ column_name }} = defined.metric_name
where
    found.timestamp >= now() - interval 1 day
    and arraySort(mapKeys(found.dimensions)) != arraySort(defined.dimensions)
{% endtest %}
