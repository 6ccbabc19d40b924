"""Stand-ins for the published weights: the same files in the same layouts, a few channels wide, random numbers."""
