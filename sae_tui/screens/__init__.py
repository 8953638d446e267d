"""Screens: the five modes and what is pushed over them."""
