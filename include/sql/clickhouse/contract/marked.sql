{# A message with \x01 before and after each number beyond Float64, which JSON may hold, while the parser
refuses the message for it; empty if it has none. The first group passes over strings; a number that
is the key of an object is none. #}
if(
    match({{ message }}, '[0-9][eE][+]?[0-9]{3}|[0-9]{300}') AND position({{ message }}, '\x01') = 0,
    replaceAll(
        replaceRegexpAll(
            {{ message }},
            concat(
                '("(?:[^"\\\\]|\\\\.)*")|(-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?[eE][+]?[0-9]{3,}',
                '|-?[1-9][0-9]{299,}(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?)([ \\t\\r\\n]*[],}])'
            ),
            '\\1\x01\\2\x01\\3'
        ),
        '\x01\x01', ''
    ),
    ''
)
