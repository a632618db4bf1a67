"""What features share: one home for each fact that more than one of them relies on."""
