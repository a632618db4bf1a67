{# Condition: a row of an export is of one of these people, in the clear or hashed. #}
has(
    arrayConcat(
        arrayMap(one -> toString(one), {users:Array(UInt64)}),
        arrayMap(
            one -> lower(hex(HMAC('SHA256', toString(one), {hash_key:String}))),
            {users:Array(UInt64)}
        )
    ),
    assumeNotNull(toString({{ user }}))
)
