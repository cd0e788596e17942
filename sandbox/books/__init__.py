"""What the payment provider remembers: its objects, its keys, its clock, and what it still has to do."""
