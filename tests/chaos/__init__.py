"""Chaos: the whole of Mainstay as real processes, killed, frozen and lied to from outside, and then counted.

`run` is the way through: it starts the `fleet`, lets the `load` submit jobs over HTTP and the `plan` cause `faults`,
waits until every job has ended, and counts the `invariants` in Postgres, in what clients were told (`journal`) and in
what arrived outside (`sink`, the sandbox's payments). `make chaos` is the long run; `test_landing_run` is a short one,
`test_negative_controls` takes one guard away each time and expects violations: a harness that cannot fail proves
nothing.
"""
