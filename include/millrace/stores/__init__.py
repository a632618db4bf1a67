"""One thin client per server; every feature reaches a server through here."""
