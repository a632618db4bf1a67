-- The five pages that were viewed most in the last minute that has any, and the minute.
SELECT page, sum(page_views) AS views, any(window_start) AS minute
FROM analytics.page_views_1min
WHERE window_start = (SELECT max(window_start) FROM analytics.page_views_1min WHERE window_start <= now())
GROUP BY page
ORDER BY views DESC, page
LIMIT 5
