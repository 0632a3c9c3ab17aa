"""Rendered faces and irises, whose annotations are exact by construction."""
