{#- The funnels of the variable `funnels`, each with 2 to 8 steps; else a compilation error. -#}
{% macro checked_funnels() %}
    {%- for funnel in var('funnels') -%}
        {%- if not 2 <= funnel.steps | length <= 8 -%}
            {{ exceptions.raise_compiler_error(
                'dbt_project.yml: the funnel ' ~ funnel.name ~ ' has ' ~ funnel.steps | length
                ~ ' steps; give it 2 to 8'
            ) }}
        {%- endif -%}
    {%- endfor -%}
    {{ return(var('funnels')) }}
{% endmacro %}
