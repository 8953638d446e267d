"""Edits of features, and text generated under them."""
