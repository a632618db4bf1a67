-- Up to when changes were followed; of stacks from before it was kept, the newest audit's word.
SELECT coalesce(
    (SELECT max(covers_until) FROM quality_watermarks WHERE judged = {judged:String} HAVING count() > 0),
    (SELECT max(covers_until) FROM {{ table }}{{ ' WHERE %s' % condition if condition else '' }})
)
