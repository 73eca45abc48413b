"""Tokenizers on disk and in other libraries: a module for each format."""
