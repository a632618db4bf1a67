"""The embedded stack: every server that Millrace needs, on loopback, under one supervisor.

For laptops, tests and single machines. Production points the settings at its own servers; nothing
that ships imports this package.
"""
