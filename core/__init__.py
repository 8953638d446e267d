"""Training and analysis of sparse autoencoders: no terminal, nothing at import; start reading at `flow.py`."""
