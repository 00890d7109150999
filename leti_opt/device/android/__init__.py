"""Android phones: adb, benchmark_model, and what a phone says of itself."""
