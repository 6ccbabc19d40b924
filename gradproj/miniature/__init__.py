"""The miniature: captioned scenes of coloured shapes, small enough to ship and to optimise on a laptop."""
