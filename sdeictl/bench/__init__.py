"""What pseudo-NMI costs on this host: timed loops, their conditions, and comparisons that can be refused."""
