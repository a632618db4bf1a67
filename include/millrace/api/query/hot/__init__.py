"""People, sessions and events, one at a time: what is looked at again and again is kept."""
