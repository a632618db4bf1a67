"""Columns of generated events, as ClickHouse expressions of ``number``."""

ID = "reinterpretAsUUID(toString(sipHash128(number)))"
TYPE = "['page_view', 'click', 'search', 'purchase'][cityHash64(number) % 4 + 1]"
USER = "(cityHash64(number, 1) % 200000 + 1)"
PAGE = "concat('/product/', toString(cityHash64(number, 2) % 1000))"
COUNTRY = "['US', 'DE', 'FR', 'GB', 'JP'][cityHash64(number, 3) % 5 + 1]"
