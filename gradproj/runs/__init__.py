"""A run's folder: how it is named, its records and what stands beside them. Imports no torch."""
