-- An analyst's sandbox: the base tables, with all events of a part of the users.
DROP TABLE IF EXISTS {{ database }}.whole_sample {{ on_cluster }} SYNC
;
DROP DATABASE IF EXISTS {{ database }} {{ on_cluster }} SYNC
;
CREATE DATABASE {{ database }} {{ on_cluster }}
;
{% for table in ["events", "rejected_events", "raw_events", "published_through", "rebuilt_days"] %}
CREATE TABLE {{ database }}.{{ table }} {{ on_cluster }} AS {{ base }}.{{ table }}
;
{% endfor %}
INSERT INTO {{ database }}.events
SELECT * FROM {{ base }}.events
WHERE event_time >= today() - {days:UInt32} AND sipHash64(user_id) % {one_in:UInt32} = 0
;
INSERT INTO {{ database }}.rejected_events
SELECT * FROM {{ base }}.rejected_events
WHERE rejected_at >= today() - {days:UInt32} AND sipHash64(offset) % {one_in:UInt32} = 0
;
INSERT INTO {{ database }}.raw_events
SELECT * FROM {{ base }}.raw_events
WHERE ingested_at >= today() - {days:UInt32} AND sipHash64(offset) % {one_in:UInt32} = 0
;
INSERT INTO {{ database }}.published_through (published_through) SELECT now64(3)
;
CREATE TABLE {{ database }}.user_profiles {{ on_cluster }}
ENGINE = {{ engine }} ORDER BY user_id
EMPTY AS SELECT * FROM {{ base }}.user_profiles
;
INSERT INTO {{ database }}.user_profiles SELECT * FROM {{ base }}.user_profiles
;
{# Metrics of aggregation rules are no models: they are those of production. #}
{% for view in ["rule_metrics", "rule_metric_definitions", "rule_metric_rollups"] %}
CREATE VIEW {{ database }}.{{ view }} {{ on_cluster }} AS SELECT * FROM {{ base }}.{{ view }}
{% if not loop.last %}
;
{% endif %}
{% endfor %}
