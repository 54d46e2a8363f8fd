"""Steps of curation: one file each; ``panel`` lists them."""
