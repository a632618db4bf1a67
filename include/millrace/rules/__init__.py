"""Rules as data: what a message must be, how it is shaped, and the one statement made of them."""
