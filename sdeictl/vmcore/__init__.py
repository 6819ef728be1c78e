"""What a crash left: cores, the registers of each CPU, and the kernel log inside."""
