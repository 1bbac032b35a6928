"""Samples: how they are counted, kept and answered."""
