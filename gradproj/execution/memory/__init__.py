"""A run and its GPU's memory: what a stage needs (``counted``), what is chosen (``planner``), what it took (``peaks``).

The stages are ``text``, where prompts are encoded and nothing else is loaded; ``load``, where rewards and generator
come and are tried; ``climb``, with the scores on the way; and ``score``, the rewards of ``held_out=after``.
"""

GIB = 2**30
