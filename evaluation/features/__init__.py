"""Features, labels and neighbours of images, from any network."""
