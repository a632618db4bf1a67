INSERT INTO {{ target }}
{{ select }}
