-- One pass from the table to the bucket. A large window is cut into slices of time, a file each,
-- so that files are sorted and do not overlap. Any column will do where one file takes all.
INSERT INTO FUNCTION s3(
    {{ collection }}, filename = '{{ prefix }}part-{_partition_id}.{{ suffix }}', format = '{{ format }}'
)
{% if slice_seconds %}
PARTITION BY intDiv(toUnixTimestamp(`{{ time_column }}`) - {{ window_epoch }}, {{ slice_seconds }})
{% else %}
PARTITION BY cityHash64(`{{ time_column }}`) % 1
{% endif %}
{{ select }}
ORDER BY {{ order_by }}
SETTINGS
    s3_truncate_on_insert = 1,
    output_format_parquet_compression_method = 'zstd',
    output_format_parquet_row_group_size = 500000,
    output_format_parquet_row_group_size_bytes = 134217728,
    output_format_parquet_string_as_string = {{ 0 if is_binary else 1 }}
