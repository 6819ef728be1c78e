"""Fuzzing by coverage: one target for each parser and reader.

targets/NAME.py says what bytes the target takes, and what must hold for any of them. harness.py runs a target
under atheris, or replays its corpus without it.
"""
