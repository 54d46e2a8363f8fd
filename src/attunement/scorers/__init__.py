"""Scorers: one file each. ``base`` holds what they share, ``toxicity`` and ``panel`` list them."""
