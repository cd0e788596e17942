"""Side-by-side benchmarks: each runs Mainstay and the usual way to do the same, in turns, on the same servers."""

PLAIN_BROKER = "BENCH_PLAIN_BROKER_URL"
PLAIN_RESULTS = "BENCH_PLAIN_RESULTS_URL"
"""The variables that tell the peer where its broker and its results are."""
