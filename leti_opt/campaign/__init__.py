"""Studies that run for days: data sets, and tables of blocks."""
