"""A watched loop of several processes: rank 0 has the run, the others do what it announces at each step."""
