-- Reports that quote rows, and whether an erasure has emptied what they quote.
SELECT report, max(observed = '') AS is_emptied
FROM quality_results
WHERE NOT is_success AND report != '' AND checked_at >= {since:DateTime64(3, 'UTC')}
GROUP BY report
ORDER BY report
