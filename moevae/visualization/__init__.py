"""Images of what experts draw, and the style of all figures."""
