"""One attempt from claim to record: `execute` is the way through; the other modules are what it needs."""
