"""Regressors that predict a latency from what a network is made of."""
