"""From sparse activations to tables that answer questions about features."""
