"""Images of decoded samples and latents, and the style of all figures."""
