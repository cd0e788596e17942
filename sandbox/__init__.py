"""The pretend outside world for demo and tests: a payment provider and a faulty HTTP server, in a process of their own.

It stands for other people's machines and therefore imports nothing of the project; what it knows, it learns over HTTP.
"""
