"""`python -m cli`: the same as `mainstay`, where the package is not installed."""

from cli import main

main(prog_name="mainstay")
