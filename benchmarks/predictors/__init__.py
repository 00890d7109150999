"""How good predictors are on latencies that others published."""
