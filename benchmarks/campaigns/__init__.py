"""What campaigns take besides the devices: benchmarks of their own path."""
