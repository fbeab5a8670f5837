"""Making a box what its box file says: bundle, variables, run, events, progress."""
