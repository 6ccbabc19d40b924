"""What ``make bench`` and ``make bench-gpu`` measure. Ratios are taken in one process, the two in turn."""
