"""Tests of evidence/: formats, rules and the stand-alone verifier."""
