{# The entries of a map that a condition on `entry` lets pass, each key's first alone: readers elsewhere
would take the last of equal ones, or refuse the map. #}
arrayFilter(
    (entry, seen) -> seen = 1{{ ' AND (%s)' % condition if condition else '' }},
    {{ entries }}::Array(Tuple(String, String)), arrayEnumerateUniq(mapKeys({{ entries }}))
)::Map(String, String)
