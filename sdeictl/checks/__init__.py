"""What is asked of a host, one file a subject; table.py has them in order."""
