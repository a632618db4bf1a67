"""Who may send and who may ask: keys of programs, and what each may do."""
