"""Tests of guests on one host."""
