"""Benchmarks, on Linux: deltasync and rsync side by side, on data made here, over a server started here."""
