"""Studies: methods, runs, measurements and their records."""
