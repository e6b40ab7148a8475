"""What the benchmarks of speed share: the machine's rates, and the table of floors."""
