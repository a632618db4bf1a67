{# The times at which an expression is asked, in milliseconds, once for each lane of the grid. #}
SELECT
    {{ grid.start }} + {{ grid.step }} * arrayJoin(range(intDiv({{ grid.end }} - {{ grid.start }} + {{ grid.step }}, {{ grid.step }})))
    {% if grid.lanes.count > 1 %}+ arrayJoin({{ grid.lanes.starts }}){% endif %} AS t
