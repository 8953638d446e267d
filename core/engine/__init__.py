"""A process that holds a model and an SAE, and the one that talks to it."""
