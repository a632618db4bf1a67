{#- The tables that a model's rows come from, as a list of names: the model itself, or, of a view, what
    it reads, view by view. A name that is no model's is a base table. -#}
{% macro tables_of(name) %}
    {%- set node = graph.nodes.get('model.millrace.' ~ name) -%}
    {%- if not node or node.config.materialized != 'view' -%}{{ return([name]) }}{%- endif -%}
    {%- set found = [] -%}
    {%- for parent in node.depends_on.nodes -%}
        {%- for table in tables_of(parent.split('.') | last) if table not in found -%}
            {%- do found.append(table) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}
