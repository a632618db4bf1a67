"""The laboratory: traffic whose outcome is known, faults on purpose, and the oracle that judges.

Nothing that ships to production imports it, and the oracle shares no code with the loader.
"""
