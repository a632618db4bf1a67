{# A map with the first of equal keys alone: readers elsewhere would take the last, or refuse it. #}
if(
    length(arrayDistinct(mapKeys({{ entries }}))) = length({{ entries }}), {{ entries }},
    arrayFilter(
        (entry, seen) -> seen = 1,
        {{ entries }}::Array(Tuple(String, String)), arrayEnumerateUniq(mapKeys({{ entries }}))
    )::Map(String, String)
)
