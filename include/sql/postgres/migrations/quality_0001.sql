-- Whoever follows the verdicts asks every second which are new.
CREATE INDEX published_windows_checked ON published_windows (checked_at);
