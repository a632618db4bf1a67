-- The silences that end after a moment.
SELECT matchers, starts_at, ends_at FROM alert_silences WHERE ends_at > %(since)s
