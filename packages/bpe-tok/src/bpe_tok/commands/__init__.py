"""The commands of `bpe-tok`, a module for each."""
