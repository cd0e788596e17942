"""The pretend outside world for demo and tests: a payment provider and a faulty HTTP server, in a process of their own.

It stands for other people's machines and therefore imports nothing of the project; what it knows, it learns over HTTP.
`provider` is the payment provider as its customers see it, `books` what it remembers, `webhooks` what it tells of its
own accord, `faults` how it can go wrong; `control` is the port from which tests move all of them.
"""
