"""Benches: what the program costs, beside a peer doing the same work in the same run. See __main__."""
