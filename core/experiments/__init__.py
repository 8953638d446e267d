"""Measured effects of steering: of one feature on texts, of two together, of one at many strengths."""
