SELECT {{ grid.start }} + {{ grid.step }} * arrayJoin(range(intDiv({{ grid.end }} - {{ grid.start }} + {{ grid.step }}, {{ grid.step }}))) AS t
