"""Training beside the other trainers of sparse autoencoders: how fast a step is, and what it comes to."""
