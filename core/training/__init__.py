"""Activations in, a trained SAE and a stream of reports out."""
