"""The published models at their real sizes, without their weights."""
