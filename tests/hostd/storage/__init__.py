"""Tests of files on one host."""
