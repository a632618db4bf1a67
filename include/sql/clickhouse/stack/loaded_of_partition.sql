-- How many messages of a range of offsets have a verdict.
SELECT
    (
        SELECT count()
        FROM events
        WHERE topic = {topic:String} AND partition = {partition:UInt32}
          AND offset >= {first_offset:UInt64} AND offset < {next_offset:UInt64}
    ) + (
        SELECT count()
        FROM rejected_events
        WHERE topic = {topic:String} AND partition = {partition:UInt32}
          AND offset >= {first_offset:UInt64} AND offset < {next_offset:UInt64}
    )
