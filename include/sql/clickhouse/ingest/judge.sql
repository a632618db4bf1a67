{% import 'clickhouse/contract/positions.sql.jinja' as place %}
-- Whatever is listed here is rejected, and everything else of the batch is published. A row is a
-- duplicate exactly if the register holds another position for its hash. On a repeat, what earlier
-- attempts published or rejected stays so.
INSERT INTO refused (partition, offset, failures, detail)
SELECT
    partition, offset,
    if(notEmpty(failures), failures, [{{ duplicate }}]),
    if(
        notEmpty(failures), detail,
        concat(
            'the first copy is at partition ', toString({{ place.partition('held') }}),
            ' offset ', toString({{ place.offset('held') }}),
            if({{ place.source_number('held') }} = {{ source_number }}, '', concat(
                ' of source number ', toString({{ place.source_number('held') }})
            ))
        )
    )
FROM (
    SELECT
        partition, offset, failures, detail, position,
        joinGet('event_id_register', 'position', event_hash) AS held
    FROM staged
    WHERE NOT throwIf(
            (SELECT count() FROM staged) != {message_count:UInt64},
            'millrace: the gate lost or doubled a message'
        )
        AND NOT throwIf(
            joinGet('event_id_register', 'position', 0::UInt64) != {register_instance:UInt64},
            'millrace: register is lost'
        )
)
WHERE (notEmpty(failures) OR held != position)
{% if is_repeat %}
    AND (partition, offset) NOT IN (SELECT partition, offset FROM present WHERE place = 'event')
{% endif %}
