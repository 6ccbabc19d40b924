"""From settings to records: parts made, batches optimised, workers."""
