"""Readers of corpora: one file each; ``panel`` lists them."""
