"""Drills: provoke what a stuck CPU would suffer, under interlocks, and prove what arrived."""
