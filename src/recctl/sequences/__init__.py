"""Vocabulary, split protocols, the flat sequence store."""
