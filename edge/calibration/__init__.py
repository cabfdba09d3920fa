"""From pixels to mm: the lens and the scale of a camera, learnt from photos of a printed board."""
