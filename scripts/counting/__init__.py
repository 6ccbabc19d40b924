"""What the published models cost at their real sizes, counted and measured without their weights."""
