"""The sparse autoencoders: the equation, one file an architecture, the fast path, the files."""
