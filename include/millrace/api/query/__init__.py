"""The query API: answers what people ask of the numbers, and lets them administer everything."""
