"""Rates, the rings they are kept in, and how both come to be."""
