"""How sure a measurement is: recorded traces, intervals, repeatability under load."""
