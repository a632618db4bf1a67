"""The expressions that are compared; each is asked at several times and over a range."""

from __future__ import annotations

GAUGE, OTHER, COUNTER = "page_views", "page_errors", "handled_total"

RANGE_FUNCTIONS = (
    "avg_over_time", "changes", "count_over_time", "delta", "deriv", "idelta", "increase", "irate",
    "last_over_time", "max_over_time", "min_over_time", "present_over_time", "rate", "resets",
    "stddev_over_time", "stdvar_over_time", "sum_over_time",
)  # fmt: skip
WINDOWS = (
    "handled_total[5m]", "handled_total[37m] offset 11m", 'lag{partition=~"[0-3]"}[90s]',
    'page_views{country="BR"}[10m]', "constants[3m]", "odd_values[9m]",
)  # fmt: skip
AGGREGATIONS = ("avg", "count", "group", "max", "min", "stddev", "stdvar", "sum")
GROUPINGS = ("", "by (country)", "by (country, device)", "without (device)", "by ()", "without ()",
             "by (nosuch)", "without (country, nosuch)")  # fmt: skip
ELEMENTWISE = (
    "abs", "acosh", "asinh", "atan", "ceil", "cos", "cosh", "deg", "exp", "floor", "ln", "log10",
    "log2", "rad", "round", "sgn", "sin", "sinh", "sqrt", "tan", "tanh", "day_of_month",
    "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year",
)  # fmt: skip
OPERATORS = ("+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")

GENERATED = [
    *(f"{function}({window})" for function in RANGE_FUNCTIONS for window in WINDOWS),
    *(f"{name} {group} (page_views)" for name in AGGREGATIONS for group in GROUPINGS),
    *(f"{name}(constants)" for name in AGGREGATIONS),
    *(f"{function}(page_views)" for function in ELEMENTWISE[:21]),
    *(f"{function}(constants)" for function in ELEMENTWISE[:21]),
    *(f"{function}(vector(time()))" for function in ELEMENTWISE[21:]),
    *(f"{function}()" for function in ELEMENTWISE[21:]),
    *(f"page_views {operator} page_errors" for operator in OPERATORS),
    *(f"page_views {operator} 100" for operator in OPERATORS),
    *(f"100 {operator} page_views" for operator in OPERATORS),
    *(f"constants {operator} constants" for operator in OPERATORS),
    *(f"page_views {operator} bool 100" for operator in COMPARISONS),
    *(f"page_views {operator} bool page_errors" for operator in COMPARISONS),
    *(f"7.5 {operator} 2" for operator in OPERATORS[:6]),
    *(f"3 {operator} bool 2" for operator in COMPARISONS),
]

WRITTEN = """
abs(page_views atan2 page_errors)
abs(100 atan2 page_views)
3 atan2 4
page_views
page_views{country="US"}
page_views{country!="US"}
page_views{country=~"U.|D."}
page_views{country=~"U"}
page_views{country!~"U.*|D.*"}
page_views{country="US", device=~".*o.*"}
page_views{nosuch=""}
page_views{nosuch!=""}
page_views{country=~".+"}
page_views{country=~"US|"}
{__name__="page_views", device="tablet"}
{__name__=~"page_.*", country="US"}
{__name__=~"page_.*|lag"}
nosuch
once
once offset 3m
page_views offset 5m
page_views offset 7m30s
page_views offset -10m
page_views{country="US"} offset 1h
page_views @ 1704114000
page_views{country="US"} @ 1704114000 offset 10m
page_views @ start()
page_views @ end()
rate(handled_total[5m] @ 1704114000)
sum_over_time(page_views{country="US"}[10m] @ end() offset 5m)
page_views - page_views offset 1h
page_views / page_views offset 10m
sum(page_views) < 0.8 * sum(page_views offset 1h)
sum(page_views) by (country) / sum(page_views offset 30m) by (country)
sum by (country) (page_views) > on (country) target
sum by (country) (page_views) > bool on (country) target
sum by (country) (page_views) - on (country) target
page_views / on (country) group_left target
page_views * on (country) group_left (region) info
page_views * on (country) group_left (region, tier) info
page_views > on (country) group_left (region) target
info * on (country) group_right (tier) page_views
target < on (country) group_right page_views
target / on (country) group_right () page_views
page_views / ignoring (device) group_left target
page_views + ignoring (nosuch) page_errors
page_views and page_errors
page_views and on (country) target
page_views and ignoring (device) target
page_views unless page_errors
page_views unless on (country) target
page_views or page_errors
page_views or on (country, device) page_errors
target or page_views
target or on (country) page_views
page_errors > 5 or page_views < 50
page_views > 100 and page_errors > 2
page_views > 100 unless on (country) target > 200
nosuch or page_views
page_views or nosuch
nosuch and page_views
page_views unless nosuch
page_views + nosuch
topk(3, page_views)
bottomk(2, page_views)
topk by (country) (1, page_views)
bottomk without (device) (2, page_views)
topk(0, page_views)
topk(-1, page_views)
topk(100, page_views)
topk(scalar(count(target)), page_views)
topk(2, sum by (country) (page_views))
quantile(0.5, page_views)
quantile(0.95, page_views)
quantile by (country) (0.3, page_views)
quantile without (device) (0.75, page_views)
quantile(1.5, page_views)
quantile(-1, page_views)
quantile(NaN, page_views)
quantile(0, page_views)
quantile(1, page_views)
quantile(0.9, constants)
quantile(scalar(once) / 10, page_views)
sum by (__name__) ({__name__=~"page_.*"})
count by (__name__, country) ({__name__=~"page_.*"})
count(page_views) by (country) == 3
count(count by (country) (page_views))
max(page_views) - min(page_views)
avg by (device) (rate(page_views[10m]))
sum(rate(handled_total[5m])) by (job)
sum(increase(handled_total[15m])) without (worker)
sum by (job) (rate(handled_total[5m])) / sum by (job) (rate(handled_total[5m] offset 30m))
rate(handled_total[1m])
rate(handled_total[2m])
rate(handled_total[61s])
increase(handled_total[3h])
increase(handled_total[1h30m])
delta(lag[10m])
irate(handled_total{worker="2"}[5m])
idelta(lag[5m])
deriv(lag[30m])
deriv(threshold[30m])
deriv(constants[10m])
predict_linear(lag[30m], 3600)
predict_linear(lag[30m] offset 10m, 600)
predict_linear(threshold[10m], 60 * 60)
predict_linear(lag[10m], scalar(once))
quantile_over_time(0.5, lag[10m])
quantile_over_time(0.99, page_views[30m])
quantile_over_time(2, lag[10m])
quantile_over_time(-0.1, lag[10m])
quantile_over_time(0.25, odd_values[20m])
avg_over_time(page_views[1h])
max_over_time(lag[1h])
min_over_time(lag[1h] offset 1h)
count_over_time(once[3h])
last_over_time(once[3h])
last_over_time({__name__=~"once|threshold"}[2h])
sum_over_time(page_views[1m])
stddev_over_time(lag[15m])
sum(sum_over_time(page_views[1m])) < 0.8 * sum(sum_over_time(page_views[1m] offset 1h))
absent(nosuch)
absent(nosuch{country="US", device=~"m.*"})
absent(nosuch{country="US", country="DE"})
absent(page_views)
absent(page_views{country="XX"})
absent(sum(nosuch))
absent(page_views > 1e9)
absent_over_time(nosuch[5m])
absent_over_time(nosuch{a="b"}[5m])
absent_over_time(page_views[5m])
absent_over_time(once[10m])
clamp(page_views, 50, 150)
clamp(page_views, 150, 50)
clamp(constants, 0, 10)
clamp(page_views, 10, NaN)
clamp_min(page_views, 100)
clamp_max(page_views, 100)
clamp_max(constants, 1)
clamp_min(page_views, scalar(threshold))
round(page_views, 10)
round(page_views, 0.1)
round(page_views, 2.5)
round(-page_views)
-page_views
-page_views ^ 2
+page_views
--page_views
-(3)
scalar(threshold)
scalar(page_views)
scalar(nosuch)
scalar(threshold) + 1
page_views > scalar(threshold)
page_views / scalar(sum(page_views))
vector(1)
vector(scalar(threshold))
vector(time())
time()
time() - timestamp(page_views)
timestamp(page_views)
timestamp(once)
timestamp(page_views offset 5m)
timestamp(sum(page_views))
timestamp(-page_views)
pi()
1
1 + 2 * 3
2 ^ 3 ^ 2
(1 + 2) * 3
10 % 3
-10 % 3
1 / 0
-1 / 0
0 / 0
5 % 0
1e3
0x1f
Inf
NaN
1 == bool 1
NaN == bool NaN
1 < bool 2
sort(page_views)
sort_desc(page_views)
label_replace(page_views, "place", "$1", "country", "(.*)")
label_replace(page_views, "place", "x-$1-y", "country", "(U).*")
label_replace(page_views, "country", "", "country", "US")
label_replace(page_views, "short", "${1}", "device", "(.).*")
label_replace(page_views, "place", "fixed", "nosuch", "")
label_replace(page_views, "place", "fixed", "nosuch", "x")
label_replace(page_views, "device", "$2", "device", "(mob)(ile)")
label_replace(page_views, "named", "$first", "country", "(?P<first>.).")
label_replace(threshold, "__name__", "renamed", "", "")
label_join(page_views, "both", "-", "country", "device")
label_join(page_views, "both", "", "device")
histogram_quantile(0.5, took_bucket)
histogram_quantile(0.9, rate(took_bucket[10m]))
histogram_quantile(0.99, sum by (le) (rate(took_bucket[5m])))
histogram_quantile(0.95, sum by (path, le) (increase(took_bucket[15m])))
histogram_quantile(0, took_bucket)
histogram_quantile(1, took_bucket)
histogram_quantile(1.1, took_bucket)
histogram_quantile(-0.1, took_bucket)
histogram_quantile(NaN, took_bucket)
histogram_quantile(0.5, took_bucket{le!="+Inf"})
histogram_quantile(0.5, took_bucket{le=~"\\\\+Inf"})
histogram_quantile(0.5, page_views)
histogram_quantile(scalar(once) / 10, took_bucket)
max_over_time(sum(page_views)[30m:1m])
max_over_time(sum(page_views)[30m:])
avg_over_time(rate(handled_total[5m])[30m:5m])
min_over_time((page_views > 100)[20m:2m])
sum_over_time(page_views[10m:3m])
sum_over_time(page_views[10m:3m] offset 7m)
sum_over_time(page_views[10m:3m] @ 1704114000)
rate(sum(handled_total)[20m:1m])
count_over_time(vector(1)[10m:1m])
max_over_time(deriv(lag[5m])[10m:30s])
quantile_over_time(0.5, max(lag)[10m:45s])
absent_over_time(nosuch[10m:1m])
avg_over_time(avg_over_time(page_views[5m:1m])[20m:4m])
sum(page_views) - sum(page_views offset 1d)
sum(page_errors) / sum(page_views) > 0.01
sum by (country) (page_errors) / sum by (country) (page_views) > 0.02
(sum(sum_over_time(page_views[1m])) or vector(0)) < 100
sum(page_views) - avg_over_time(sum(page_views)[1h:1m]) > stddev_over_time(sum(lag)[1h:1m])
count(lag > 10) > 2
max by (topic) (lag) > 30 and max by (topic) (deriv(lag[10m])) > 0
changes(lag[10m]) > 20
(page_views > 100) * 2
(page_views > 100) + (page_views < 300)
page_views > 50 < 300
page_views * 2 > 100 / 2
sum(page_views > 100) by (device)
sum(1 - (page_errors > bool 3))
count(page_views == page_views)
page_views != page_views
constants == constants
odd_values
odd_values + 1
odd_values > 0
max(odd_values)
stddev(page_views{country="US"})
minute(timestamp(page_views))
hour(vector(1704110400 + 86400 * 200))
month(vector(0))
day_of_week(vector(345600))
days_in_month(vector(1709164800))
year(vector(-86400))
"""

EXPRESSIONS = [*GENERATED, *(line for line in WRITTEN.splitlines() if line.strip())]

FAILING = """
label_join(page_views, "country", "/", "nosuch")
page_views / on (country) target
page_views * on (country) info
target * on (country) page_views
target / on () group_left page_views
{__name__=~"page_.*"} + on (country) target
abs({__name__=~"page_.*"})
rate({__name__=~"page_.*"}[5m])
-{__name__=~"page_.*"}
label_replace(page_views, "country", "same", "country", ".*")
info * on (tier) group_left info
page_views / on (country) group_left page_errors
"""

ERRORS = [line for line in FAILING.splitlines() if line.strip()]
