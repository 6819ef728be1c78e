"""The agent: what probe, drills and benchmarks found, and what the kernel log says, as metrics."""
